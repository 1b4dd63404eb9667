"""Distillation of a guided teacher's DDIM steps: LCM (Luo et al. 2023), TCD (Zheng et al. 2024), PCM (Wang et al. 2024)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_guidance
from ..core.sampling import Sampling
from ..samplers import time_grid
from .adversarial import Adversary, pulled
from .base import Distance, Huber, Method, bare, guided, per_sample
from .diagnostics import by_level
from .jvp import alike

NO_GUIDANCE = (1.0, 1.0)
BOUNDED = {"eps": "lcm_eps", "v": "lcm_v"}  # rows that LCM puts its boundary condition around


@dataclass
class OnGrid(Method):
    """The student's jump from a point of a grid agrees with that from the point below, where a step of the teacher leads.

    A kind of it says where the jump ends. The teacher's step is DDIM's under classifier-free guidance. points: of the grid,
    in equal strides of the time; it ends at clean data, for LCM's function at the first timestep, where that is identity.
    weights: of guidance, 1 being none: a range of which the student is told its weight; of one weight, both ends of it, the
    student is told nothing (an adapter, train.lora, could not learn to be told). A model that is told its guidance already
    stays so, and answers for a teacher at once. mu: decay of the target average; 0, the student itself.
    """

    points: int = 50
    weights: tuple[float, float] = (3.0, 15.0)
    mu: float = 0.95
    distance: Distance = Huber()

    training: ClassVar[dict] = {"optimizer": "adamw"}
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        low, high = self.weights
        if not 0 <= low <= high < math.inf:
            raise FastdiffError(
                f"weights = {low:g}, {high:g}: expected a range of guidance, of which 1 is none",
                key="weights",
            )
        if self.points < 1 or not 0 <= self.mu < 1:
            raise FastdiffError(
                f"points = {self.points}, mu = {self.mu}: expected at least 1 point, and a decay, 0 to less "
                "than 1",
                key="points",
            )

    def student(self, model):
        low, high = self.weights
        return model if low == high or model.guidance else with_guidance(model, self.weights)

    def extras(self, student, teacher):
        if student.schedule.timesteps % self.points:
            raise FastdiffError(
                f"points = {self.points}: expected a divisor of the schedule's {student.schedule.timesteps} "
                "timesteps",
                key="points",
            )
        if not (
            self.weights == NO_GUIDANCE
            or teacher.guidance
            or teacher.text
            or teacher.net.null_label is not None
        ):
            raise FastdiffError(
                "guidance needs a teacher with labels, model.labels: true, or with prompts: set weights to "
                "[1, 1], which is none"
            )
        return {}

    def averages(self):
        return {"target": lambda progress: self.mu} if self.mu else {}

    def loss(self, turn, nets, batch, progress):
        student, cond, rng = bare(nets["student"]), batch.cond, batch.rng
        schedule, n = student.schedule, batch.rng.integers(1, self.points + 1).double()
        bottom = schedule.t_max / schedule.timesteps if student.predicts in BOUNDED.values() else 0.0
        t, s = (self.time(schedule, place).clamp(min=bottom) for place in (n, n - 1))
        x = schedule.mix(batch.x0, rng.normal(batch.x0.shape[1:]).to(batch.x0), t)
        u = self.end(schedule, t, s, rng)
        with alike(x):  # the same dropout mask for both
            found = schedule.mix(*nets["student"](x, t, u, cond), u)
        with torch.no_grad():
            near = self.step(nets["teacher"], schedule, x, t, s, cond)
            net = nets["target"].train(student.training) if "target" in nets else student
            further = like(s > u.clamp(min=bottom), x) > 0  # else x_s is where the jump ends
            wanted = torch.where(further, schedule.mix(*net(near, s, u, cond), u), near)
        return self.compared(turn, nets, batch, found, wanted, t, u)

    def compared(self, turn, nets, batch, found, wanted, t, u):
        """The loss of the student's jump from t to u, and what to log."""
        return self.distance(found, wanted).mean(), self.health(nets, found, wanted, t)

    def health(self, nets, found, wanted, t):
        """What to log of the difference of the two jumps."""
        error = per_sample((found - wanted).detach().square()).sqrt()
        return by_level("self_error", error, t / nets["teacher"].schedule.t_max)

    def time(self, schedule, place):
        """The time of a point by its number, 0 for clean data."""
        return schedule.t_max * place / self.points

    def end(self, schedule, t, s, rng):
        """Where the jumps from t and s end."""
        raise NotImplementedError

    def step(self, teacher, schedule, x, t, s, cond):
        """x_s, a DDIM step of the guided teacher from x_t."""
        weight = (
            1.0
            if teacher.guidance
            else like(cond["guidance"], x)
            if "guidance" in (cond or ())
            else self.weights[0]
        )
        return schedule.mix(*guided(teacher, x, t, s, cond, weight), s)

    def teacher_nfe(self):
        return 1 if self.weights == NO_GUIDANCE else 2

    @property
    def spacing(self) -> str:
        """The points of the grid for fewer steps."""
        return f"lcm[points={self.points}]"


@dataclass
class LCM(OnGrid):
    """Latent consistency distillation: the jump ends at clean data.

    Of a teacher that predicts eps or v the student is LCM's, which is the identity at the first timestep
    (lcm_eps, lcm_v).
    """

    def student(self, model):
        if model.predicts == "x0":
            raise FastdiffError(
                "lcm needs a model that predicts eps, v, velocity or edm: one of x0 has no f(x, 0) = x"
            )
        student = super().student(model)
        return bounded(student) if student.predicts in BOUNDED else student

    def end(self, schedule, t, s, rng):
        return torch.zeros_like(s)

    def sampling(self):
        return Sampling("consistency", self.spacing, (1, 2, 4, 8))


@dataclass
class TCD(OnGrid):
    """Trajectory consistency distillation: the jump ends anywhere between the data and s.

    That is (1 - gamma) s of every gamma, so that one student serves all of the sampler's. The network is not
    told the end: the jump is the DDIM form of its prediction at t (the paper's semi-linear function of first
    order).
    """

    def end(self, schedule, t, s, rng):
        return rng.uniform() * s

    def sampling(self):
        return Sampling("gamma", self.spacing, (1, 2, 4, 8))


@dataclass
class PCM(OnGrid):
    """Phased consistency distillation: the jump ends where t's own phase does.

    phases: parts of the grid, and the steps of a deterministic sampling; another number needs another
    student. gan: a critic on the teacher's features of the student's jump and its target, noised within the
    phase; 0.1 is the paper's weight.
    """

    phases: int = 4
    weights: tuple[float, float] = (4.5, 4.5)
    gan: Adversary = Adversary()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.phases <= self.points:
            raise FastdiffError(f"phases = {self.phases}: expected 1 to points = {self.points}", key="phases")

    def end(self, schedule, t, s, rng):
        edges = time_grid(schedule, self.phases, self.spacing).flip(0).to(t)
        half = self.time(schedule, 0.5)  # an edge is the end of the phase above it
        return edges[torch.searchsorted(edges, t - half) - 1]

    def extras(self, student, teacher):
        return super().extras(student, teacher) | self.gan.extras(teacher)

    def turns(self, progress):
        return self.gan.turns

    def compared(self, turn, nets, batch, found, wanted, t, u):
        if not self.gan.weight:
            return super().compared(turn, nets, batch, found, wanted, t, u)
        level = u + batch.rng.uniform() * (t - u)

        def seen(*parts):
            raised = [
                noised(nets["teacher"].schedule, x, u, level, batch.rng.normal(x.shape[1:]).to(x))
                for x in parts
            ]
            return self.gan.seen(nets["teacher"], raised, [level] * len(parts), batch.cond)

        if "critic" in turn:
            with torch.no_grad():
                real, made = seen(wanted, found)
            return self.gan.telling(nets["critic"], real, made)
        leaf = found.detach().requires_grad_()
        logits = nets["critic"](*seen(leaf))
        loss, logs = pulled(
            found,
            leaf,
            {
                "agreement": self.distance(leaf, wanted).mean(),
                "gan": self.gan.weight * self.gan.fooling(logits),
            },
        )
        return loss, logs | self.health(nets, leaf, wanted, t)

    def teacher_nfe(self):
        return super().teacher_nfe() + 1.5 * (self.gan.weight > 0)  # two in the critic's turn, one in its own

    def sampling(self):
        return Sampling("ddim", self.spacing, (self.phases,), only=True)


def noised(schedule, x, t, u, eps):
    """x_u of x_t, of data that are noised further from t to u."""
    (alpha_t, sigma_t), (alpha_u, sigma_u) = schedule.alpha_sigma(t), schedule.alpha_sigma(u)
    shrink = alpha_u / alpha_t
    return (
        like(shrink, x) * x
        + like((sigma_u.square() - (shrink * sigma_t).square()).clamp(min=0).sqrt(), x) * eps
    )


def bounded(model: Denoiser) -> Denoiser:
    """Return the same network, of eps or v, as LCM's consistency function; the weights are shared."""
    sigma_data = model.sigma_data if model.scale_input else 0.5  # scaled inputs depend on it
    return model.reparameterized(BOUNDED[model.predicts], sigma_data)
