"""Consistency models: the common loss, ECT, distillation (CD), and the curricula of CT and iCT."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from .base import Decay, Logs, Loss, Method, Nets, Progress, Turn, heun, unwrap
from .diagnostics import boundary, by_level
from .distances import Distance, PseudoHuber, SquaredL2, per_sample
from .jvp import preserve_rng_state
from .time_sampling import KarrasIndex, LogNormalIndex, TimeDistribution, Uniform

# A few steps, the first at sigma / alpha = 80 and the last at 0.8, near the second step of iCT and sCM.
FEW_STEPS = Sampling("consistency", "karras[ratio_min=0.8]", (1, 2, 4, 8))


class Consistency(Method):
    """Base class of consistency models (Song et al. 2023): f(x_t, t) is trained to equal f(x_s, s), s < t.

    The loss is the mean of distance(f(x_t, t), f-(x_s, s)) / width, without gradients through f-. Subclasses
    have the fields `times` and `distance`, define the pairs of times, and may override x_s, the target and
    the width.
    """

    times: TimeDistribution
    distance: Distance

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        identity_at_data(student)
        return {}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule

        # 1. Sample times t and s < t, noise, and x_t.
        t, s = self.pair(batch.rng, schedule, progress)
        x_t, eps = batch.noised(schedule, t)

        # 2. f(x_t, t), with gradients. This pass comes first: older autocasts keep the weights that a pass
        #    without gradients has cast, and lose the gradients.
        with preserve_rng_state(x_t):  # the same dropout mask for both passes
            f = nets["student"](x_t, t, torch.zeros_like(t), batch.cond).x0

        # 3. The target f-(x_s, s), without.
        with torch.no_grad():
            x_s = self.x_at_s(nets, batch, x_t, eps, t, s)
            target = self.target(nets, x_s, s, batch.cond)
            error = per_sample((f - target).square()).sqrt()

        # 4. The distance between the two, in units of the gap.
        loss = (self.distance(f, target) / self.width(schedule, t, s)).mean()
        return loss, {
            "gap": ((t - s) / schedule.t_max).mean(),
            **boundary(schedule, t, f, batch.x0),
            **self.error_logs(schedule, t, error),
        }

    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        """Draw times t and s < t, each (B,), for the examples' random streams."""
        raise NotImplementedError

    def x_at_s(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return x_s (B, ...) for x = x_t and its noise eps; here of the same data and noise."""
        return unwrap(nets["student"]).schedule.mix(batch.x0, eps, s)

    def target(self, nets: Nets, x: Tensor, s: Tensor, cond: Cond) -> Tensor:
        """Return the clean data (B, ...) that the student or its running average predicts from x = x_s."""
        student = unwrap(nets["student"])
        net = nets["target"].train(student.training) if "target" in nets else student
        return net(x, s, torch.zeros_like(s), cond).x0

    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        """Return the divisor (B,) of the distance."""
        return torch.ones_like(t)

    def error_logs(self, schedule: Schedule, t: Tensor, error: Tensor) -> Logs:
        """Return figures to log from the errors (B,), root mean squares of student minus target."""
        return by_level("self_error", error, t / schedule.t_max)

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", "uniform", (1, 2, 4, 8))


def identity_at_data(student: Denoiser) -> None:
    """Raise FastdiffError for a student whose parameterization does not make f(x, 0) = x."""
    if student.predicts in ("x0", "eps"):
        raise FastdiffError(
            f"consistency needs f(x, 0) = x, which a model that predicts {student.predicts} does not "
            "have: choose v, velocity or edm"
        )


@dataclass
class ECT(Consistency):
    """ECT (Geng et al. 2024): consistency training on continuous times with a shrinking gap.

    The loss is distance(f(x_t, t), sg f(x_s, s)) t_max / (t - s), with x_s of the same data and noise as x_t,
    and s = t (1 - gap n(t)), n(t) = 1 + k sigmoid(-b sigma / alpha). On a grid (times: karras) s is the grid
    point below t instead. Needs images and no teacher.

    Args:
        times: distribution of t, a key of TIME_DISTRIBUTIONS.
        start: initial gap as a fraction of t, in (0, 1].
        halvings: number of times that the gap is halved during the training.
        distance: distance between f and its target, a key of DISTANCES.
        k: factor by which the gap is wider near the data; 8 in the paper, 0 for a constant factor.
        b: scale of sigma / alpha in n(t).
        images: number of images between two halvings, 3,200,000 in the paper; 0 for equal intervals.
    """

    times: TimeDistribution = field(default_factory=Uniform)
    start: Annotated[float, Field(gt=0, le=1)] = 0.5
    halvings: int = 8
    distance: Distance = PseudoHuber()
    k: float = 0.0
    b: float = 1.0
    images: int = 0

    training: ClassVar[dict[str, Any]] = {"optimizer": "radam", "lr_schedule": "cosine"}

    @override
    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        t, s = self.times.pair(rng, schedule)
        return t, self.earlier_time(schedule, t, progress) if s is None else s

    def earlier_time(self, schedule: Schedule, t: Tensor, progress: Progress) -> Tensor:
        """Return s (B,) = t (1 - gap n(t)), at least 0."""
        n = 1 + self.k * torch.sigmoid(-self.b * ratio_of(schedule, t))
        return t * (1 - self.gap(progress) * n).clamp(min=0)

    def gap(self, progress: Progress) -> float:
        """Return the gap between t and s as a fraction of t, without the factor n(t)."""
        if self.images:
            stage = progress.images // self.images
        else:
            stage = int(progress.fraction * (self.halvings + 1))
        return self.start * 2.0 ** -min(stage, self.halvings)

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        return (t - s) / schedule.t_max

    @override
    def sampling(self) -> Sampling:
        return FEW_STEPS if isinstance(self.times, KarrasIndex) else super().sampling()


@dataclass
class CD(ECT):
    """CD (Song et al. 2023, algorithm 2): consistency distillation, with x_s a teacher's step from x_t.

    The loss is that of ECT, distance(f(x_t, t), f-(x_s, s)) t_max / (t - s), where x_s is one ODE step of the
    teacher; on a grid (times: karras) all pairs have weight 1. The paper's ImageNet setting is times: {name:
    karras, points: 40}, solver: heun, mu: 0.95. Other settings are those of ECT. Needs a teacher and images.

    Args:
        solver: solver of the teacher's step, euler (1 evaluation) or heun (2); both are exact if (x0, eps) is
            constant along the step.
        mu: decay in [0, 1) of the running average of the student that is the target f-; 0 for the student.
    """

    solver: Literal["euler", "heun"] = "euler"
    mu: Decay = 0.0

    needs_teacher: ClassVar[bool] = True

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": lambda progress: self.mu} if self.mu else {}

    @override
    def x_at_s(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
        schedule = unwrap(nets["student"]).schedule
        teacher = nets["teacher"]
        if self.solver == "heun":
            return heun(teacher, schedule, x, t, s, batch.cond)
        return schedule.mix(*teacher(x, t, s, batch.cond), s)

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        return torch.ones_like(t) if isinstance(self.times, KarrasIndex) else super().width(schedule, t, s)

    @override
    def teacher_nfe(self) -> int:
        return {"euler": 1, "heun": 2}[self.solver]


class DiscreteConsistencyTraining(Consistency):
    """Base class of curricula: t and s are neighbouring points of a grid of N(k) points at step k.

    Subclasses have the fields `s0` and `s1`, between which the number of intervals grows, and `times`, the
    distribution of the upper point.
    """

    s0: int
    s1: int

    training: ClassVar[dict[str, Any]] = {"optimizer": "radam"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.times, KarrasIndex):
            raise FastdiffError(
                "times: expected a distribution on a grid, karras or karras_lognormal", key="times"
            )
        if not 2 <= self.s0 <= self.s1:
            raise FastdiffError(f"s0 = {self.s0} and s1 = {self.s1}: expected 2 <= s0 <= s1", key="s0")

    @override
    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        return replace(self.times, points=self.points(progress)).pair(rng, schedule)

    def points(self, progress: Progress) -> int:
        """Return N(k), the number of grid points at a progress."""
        raise NotImplementedError

    @override
    def sampling(self) -> Sampling:
        return FEW_STEPS


@dataclass
class CT(DiscreteConsistencyTraining):
    """CT (Song et al. 2023, algorithm 3): consistency training against a running average of the student.

    The loss is distance(f(x_t, t), f-(x_s, s)) for neighbouring points t > s of a grid of N(k) points, which
    grows from s0 to s1 + 1 as the root of the step k; the decay mu(k) of the average f- grows with it from
    mu0 (appendix C). Needs images and no teacher.

    Args:
        times: distribution of t on the grid, karras or karras_lognormal; its number of points is not used.
        s0, s1: number of intervals of the grid at the start and at the end, 2 <= s0 <= s1.
        mu0: decay of the average at the start, in (0, 1).
        distance: distance between f and its target, a key of DISTANCES.
    """

    times: TimeDistribution = KarrasIndex()
    s0: int = 2
    s1: int = 150
    mu0: Annotated[float, Field(gt=0, lt=1)] = 0.9
    distance: Distance = SquaredL2()

    @override
    def points(self, progress: Progress) -> int:
        square = progress.fraction * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2
        return math.ceil(math.sqrt(square) - 1) + 1

    def mu(self, progress: Progress) -> float:
        """Return the decay mu(k) = mu0^(s0 / intervals)."""
        return self.mu0 ** (self.s0 / (self.points(progress) - 1))

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": self.mu}


@dataclass
class ICT(DiscreteConsistencyTraining):
    """iCT (Song & Dhariwal 2023): improved consistency training against the student itself.

    The loss is distance(f(x_t, t), sg f(x_s, s)) divided by the difference of sigma / alpha, for neighbouring
    points t > s of a grid whose number of intervals doubles from s0 to s1. Needs images and no teacher.

    Args:
        times: distribution of t on the grid, karras or karras_lognormal; its number of points is not used.
        s0, s1: number of intervals of the grid at the start and at the end, 2 <= s0 <= s1.
        distance: distance between f and its target, a key of DISTANCES.
    """

    times: TimeDistribution = LogNormalIndex()
    s0: int = 10
    s1: int = 1280
    distance: Distance = PseudoHuber()

    @override
    def points(self, progress: Progress) -> int:
        doublings = math.log2(self.s1 // self.s0)
        span = max(1, int(progress.steps / (doublings + 1)))
        return min(self.s0 * 2 ** (progress.step // span), self.s1) + 1

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        return ratio_of(schedule, t) - ratio_of(schedule, s)
