"""Consistency distillation along a guided teacher's DDIM steps: the common part of LCM, TCD and PCM."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_guidance
from ..core.rng import SampleRng
from ..core.schedule import Schedule
from ..data.batch import Batch
from .base import Decay, Logs, Loss, Method, Nets, Progress, Turn, guided, unwrap
from .diagnostics import by_level
from .distances import Distance, Huber, per_sample
from .jvp import preserve_rng_state
from .loss_weights import LevelWeight, snr_weight

NO_GUIDANCE = (1.0, 1.0)
# By parameterization: the one with LCM's boundary condition, the identity at the first timestep.
LCM_PARAMETERIZATIONS = {"eps": "lcm_eps", "v": "lcm_v"}


@dataclass
class GridConsistency(Method):
    """Base class of LCM, TCD and PCM: jumps from neighbouring grid points t and s < t end at the same x_u.

    The loss is weight(SNR) distance(G(x_t, t, u), G-(x_s, s, u)), where x_s is a DDIM step of the teacher
    from x_t under classifier-free guidance, and G- the target without gradients. Subclasses define u. The
    grid has equal strides in time and ends at clean data, or for LCM's parameterizations at the first
    timestep.

    Needs a teacher and images.

    Args:
        points: number of intervals of the grid, a divisor of the schedule's timesteps.
        weights: range (low, high) of guidance weights, 1 for no guidance. With low < high the student takes
            the weight as an input; with low = high it does not (an adapter, train.lora, could not learn such
            an input). A model that already takes a weight keeps its input, and as a teacher is evaluated
            once.
        mu: decay in [0, 1) of the running average of the student that is the target; 0 for the student.
        distance: distance between the ends of the two jumps, a key of DISTANCES.
        weight: weight by the noise level of x_t: none, as in the authors' scripts, truncated_snr or
            snr_plus_1, of a distance of first degree the root, see `snr_weight`. Without one, the network's
            own output is hardly trained at low noise, and in long trainings the student drifts there.
    """

    points: Annotated[int, Field(ge=1)] = 50
    weights: tuple[float, float] = (3.0, 15.0)
    mu: Decay = 0.95
    distance: Distance = Huber()
    weight: LevelWeight = "none"

    training: ClassVar[dict[str, Any]] = {"optimizer": "adamw"}
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.weights
        if not 0 <= low <= high < math.inf:
            raise FastdiffError(
                f"weights = {low:g}, {high:g}: expected a range of guidance weights, at least 0 (1 for no "
                "guidance)",
                key="weights",
            )

    @override
    def student(self, model: Denoiser) -> Denoiser:
        low, high = self.weights
        return model if low == high or model.guidance else with_guidance(model, self.weights)

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        if student.schedule.timesteps % self.points:
            raise FastdiffError(
                f"points = {self.points}: expected a divisor of the schedule's {student.schedule.timesteps} "
                "timesteps",
                key="points",
            )
        can_guide = teacher.guidance or teacher.text or teacher.null_label is not None
        if self.weights != NO_GUIDANCE and not can_guide:
            raise FastdiffError(
                "guidance needs a teacher with labels, model.labels: true, or with prompts: set weights to "
                "[1, 1] for no guidance"
            )
        return {}

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": lambda progress: self.mu} if self.mu else {}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        student = unwrap(nets["student"])
        schedule = student.schedule
        cond = batch.cond

        # 1. Sample neighbours t and s on the grid, noise, x_t, and u, where the jumps end.
        n = batch.rng.integers(1, self.points + 1).double()
        bottom = (
            schedule.t_max / schedule.timesteps if student.predicts in LCM_PARAMETERIZATIONS.values() else 0.0
        )
        t, s = (self.time(schedule, place).clamp(min=bottom) for place in (n, n - 1))
        x_t, _ = batch.noised(schedule, t)
        u = self.end(schedule, t, s, batch.rng)

        # 2. The student's jump from t to u, with gradients.
        with preserve_rng_state(x_t):  # the same dropout mask for both passes
            student_jump = schedule.mix(*nets["student"](x_t, t, u, cond), u)

        # 3. The guided teacher's step from t to s, and the target's jump from there.
        with torch.no_grad():
            x_s = self.step(nets["teacher"], schedule, x_t, t, s, cond)
            net = nets["target"].train(student.training) if "target" in nets else student
            is_further = like(s > u.clamp(min=bottom), x_t) > 0  # else the jump ends at x_s
            target = torch.where(is_further, schedule.mix(*net(x_s, s, u, cond), u), x_s)

        # 4. The distance between the two.
        return self.jump_loss(turn, nets, batch, student_jump, target, t, u)

    def jump_loss(
        self,
        turn: Turn,
        nets: Nets,
        batch: Batch,
        student_jump: Tensor,
        target: Tensor,
        t: Tensor,
        u: Tensor,
    ) -> Loss:
        """Return the loss of the student's jump against its target, and figures to log.

        Args:
            turn: the roles that learn.
            nets: all networks by role.
            batch: the examples.
            student_jump: end (B, ...) of the student's jump from t to u.
            target: end (B, ...) of the target's jump.
            t: times (B,) at which the student's jump starts.
            u: times (B,) at which the jumps end.
        """
        schedule = nets["teacher"].schedule
        return self.disagreement(schedule, student_jump, target, t), self.error_logs(
            nets, student_jump, target, t
        )

    def disagreement(self, schedule: Schedule, student_jump: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Return the weighted distance between the ends (B, ...) of two jumps, the first from t; a scalar."""
        weight = snr_weight(self.weight, schedule, t, self.distance.degree)
        return (weight * self.distance(student_jump, target)).mean()

    def error_logs(self, nets: Nets, student_jump: Tensor, target: Tensor, t: Tensor) -> Logs:
        """Return figures to log of the difference between the student's jump and its target."""
        error = per_sample((student_jump - target).detach().square()).sqrt()
        return by_level("self_error", error, t / nets["teacher"].schedule.t_max)

    def time(self, schedule: Schedule, place: Tensor | float) -> Tensor | float:
        """Return the time of the grid point with a number from 0, clean data, to `points`, t_max."""
        return schedule.t_max * place / self.points

    def end(self, schedule: Schedule, t: Tensor, s: Tensor, rng: SampleRng) -> Tensor:
        """Return the time u (B,) at which the jumps from t and from s end."""
        raise NotImplementedError

    def step(
        self, teacher: Denoiser, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, cond: Cond
    ) -> Tensor:
        """Return x_s (B, ...) after a DDIM step of the guided teacher from x = x_t."""
        if teacher.guidance:
            weight = 1.0
        elif cond and "guidance" in cond:
            weight = like(cond["guidance"], x)
        else:
            weight = self.weights[0]
        return schedule.mix(*guided(teacher, x, t, s, cond, weight), s)

    @override
    def teacher_nfe(self) -> float:
        return 1 if self.weights == NO_GUIDANCE else 2

    @property
    def spacing(self) -> str:
        """The spacing of sampling times, which selects points of the grid."""
        return f"lcm[points={self.points}]"
