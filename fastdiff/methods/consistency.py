"""Consistency models (Song et al. 2023) on continuous times: ECT's shrinking gap (Geng et al. 2024), and distillation."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from .base import Distance, Law, Method, PseudoHuber, SquaredL2, Uniform, bare, heun
from .diagnostics import boundary, by_level
from .distances import per_sample
from .jvp import alike
from .time_sampling import KarrasIndex, LogNormalIndex

# Few steps, of which the first is at sigma / alpha = 80 and the last at 0.8, about where iCT and sCM have
# their second.
FEW = Sampling("consistency", "karras[ratio_min=0.8]", (1, 2, 4, 8))


class Consistency(Method):
    """The student agrees with itself a little nearer the data, on the straight path of (x0, eps).

    A kind of it says at which pairs of times, and what it takes for x_s, for the target and for the loss's
    unit.
    """

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose uniform, lognormal or logit_normal", key="times"
            )

    def extras(self, student, teacher):
        identity_at_data(student)
        return {}

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        schedule = model.schedule
        t, s = self.pair(batch.rng, schedule, progress)
        eps = batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        x = schedule.mix(batch.x0, eps, t)
        # The pass with gradients comes first: older autocasts keep the weights that one without has cast, and
        # lose them.
        with alike(x):  # the same dropout mask for both
            f = nets["student"](x, t, torch.zeros_like(t), batch.cond).x0
        with torch.no_grad():
            target = self.target(nets, self.nearer(nets, batch, x, eps, t, s), s, batch.cond)
            error = per_sample((f - target).square()).sqrt()
        loss = (self.distance(f, target) / self.width(schedule, t, s)).mean()
        return loss, {
            "gap": ((t - s) / schedule.t_max).mean(),
            **boundary(schedule, t, f, batch.x0),
            **self.health(schedule, t, error),
        }

    def pair(self, rng, schedule, progress):
        """Times t and s < t."""
        raise NotImplementedError

    def nearer(self, nets, batch, x, eps, t, s):
        """x_s of the same data and noise."""
        return bare(nets["student"]).schedule.mix(batch.x0, eps, s)

    def target(self, nets, x, s, cond):
        """The clean data that the student, or its running average where the method keeps one, sees in x_s."""
        student = bare(nets["student"])
        net = nets["target"].train(student.training) if "target" in nets else student
        return net(x, s, torch.zeros_like(s), cond).x0

    def width(self, schedule, t, s):
        """Of the gap: what the distance is divided by."""
        return torch.ones_like(t)

    def health(self, schedule, t, error):
        """What to log of the difference of the student and its target, a root mean square (B,)."""
        return by_level("self_error", error, t / schedule.t_max)

    def sampling(self):
        return Sampling("consistency", "uniform", (1, 2, 4, 8))


def identity_at_data(student):
    """Refuse a student that has no f(x, 0) = x by itself."""
    if student.predicts in ("x0", "eps"):
        raise FastdiffError(
            f"consistency needs f(x, 0) = x, which a model that predicts {student.predicts} does not "
            "have: choose v, velocity or edm"
        )


@dataclass
class ECT(Consistency):
    """Consistency training with a gap that shrinks.

    The gap t - s starts at `start` of t and halves `halvings` times over training. The paper's r(t) is k = 8:
    near the data the gap is n(t) = 1 + k sigmoid(-b sigma / alpha) times as wide. images: seen between two
    halvings, the paper has 3,200,000; 0 for equal shares of the training. On a grid (times: karras) s is the
    point below t, whatever the gap.
    """

    times: Law = field(default_factory=Uniform)
    start: float = 0.5
    halvings: int = 8
    distance: Distance = PseudoHuber()
    k: float = 0.0
    b: float = 1.0
    images: int = 0

    training: ClassVar[dict] = {"optimizer": "radam", "decay": "cosine"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.start <= 1:
            raise FastdiffError(
                f"start = {self.start}: expected a share of t, above 0 and at most 1", key="start"
            )

    def pair(self, rng, schedule, progress):
        t, s = self.times.pair(rng, schedule)
        return t, self.below(schedule, t, progress) if s is None else s

    def below(self, schedule, t, progress):
        """s, at a gap of share gap n(t) of t."""
        n = 1 + self.k * torch.sigmoid(-self.b * ratio_of(schedule, t))
        return t * (1 - self.gap(progress) * n).clamp(min=0)

    def gap(self, progress) -> float:
        """The share of t between t and s, before n(t)."""
        stage = (
            progress.images // self.images if self.images else int(progress.fraction * (self.halvings + 1))
        )
        return self.start * 2.0 ** -min(stage, self.halvings)

    def width(self, schedule, t, s):
        return (t - s) / schedule.t_max

    def sampling(self):
        return FEW if isinstance(self.times, KarrasIndex) else super().sampling()


@dataclass
class CD(ECT):
    """Consistency distillation: x_s is one step of the teacher from x_t. mu: decay of the target average; 0, the student.

    The paper's ImageNet setting is times: {name: karras, points: 40}, solver: heun, mu: 0.95; on a grid all
    pairs weigh 1.
    """

    solver: Literal["euler", "heun"] = "euler"
    mu: float = 0.0

    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mu < 1:
            raise FastdiffError(f"mu = {self.mu}: expected a decay, 0 to less than 1", key="mu")

    def averages(self):
        return {"target": lambda progress: self.mu} if self.mu else {}

    def nearer(self, nets, batch, x, eps, t, s):
        """The teacher's step; both kinds are exact where (x0, eps) is constant on the way."""
        schedule, teacher = bare(nets["student"]).schedule, nets["teacher"]
        if self.solver == "heun":
            return heun(teacher, schedule, x, t, s, batch.cond)
        return schedule.mix(*teacher(x, t, s, batch.cond), s)

    def width(self, schedule, t, s):
        return torch.ones_like(t) if isinstance(self.times, KarrasIndex) else super().width(schedule, t, s)

    def teacher_nfe(self):
        return {"euler": 1, "heun": 2}[self.solver]


class Growing(Consistency):
    """Neighbours on a grid of N(k) points at step k; times is the law of the upper one."""

    training: ClassVar[dict] = {"optimizer": "radam"}

    def __post_init__(self) -> None:
        if not isinstance(self.times, KarrasIndex):
            raise FastdiffError("times: expected a law on a grid, karras or karras_lognormal", key="times")
        if not 2 <= self.s0 <= self.s1:
            raise FastdiffError(f"s0 = {self.s0} and s1 = {self.s1}: expected 2 <= s0 <= s1", key="s0")

    def pair(self, rng, schedule, progress):
        return replace(self.times, points=self.points(progress)).pair(rng, schedule)

    def sampling(self):
        return FEW


@dataclass
class CT(Growing):
    """Against a running average of decay mu(k), N(k) from s0 to s1 + 1 as the root of k (algorithm 3, appendix C)."""

    times: Law = KarrasIndex()
    s0: int = 2
    s1: int = 150
    mu0: float = 0.9
    distance: Distance = SquaredL2()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mu0 < 1:
            raise FastdiffError(f"mu0 = {self.mu0}: expected a decay, above 0 and below 1", key="mu0")

    def points(self, progress) -> int:
        """N(k)."""
        return (
            math.ceil(math.sqrt(progress.fraction * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2) - 1) + 1
        )

    def mu(self, progress) -> float:
        """mu(k) = mu0^(s0 / intervals)."""
        return self.mu0 ** (self.s0 / (self.points(progress) - 1))

    def averages(self):
        return {"target": self.mu}


@dataclass
class ICT(Growing):
    """Against the student itself, N(k) doubling from s0 + 1 to s1 + 1; the distance over the gap in sigma / alpha."""

    times: Law = LogNormalIndex()
    s0: int = 10
    s1: int = 1280
    distance: Distance = PseudoHuber()

    def points(self, progress) -> int:
        """N(k)."""
        span = max(1, int(progress.steps / (math.log2(self.s1 // self.s0) + 1)))
        return min(self.s0 * 2 ** (progress.step // span), self.s1) + 1

    def width(self, schedule, t, s):
        return ratio_of(schedule, t) - ratio_of(schedule, s)
