"""What a method is: whose turn it is to learn, and the loss of that turn. Also what several methods share."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core.denoiser import Cond, Denoiser, Sampling, ratio_of
from ..core.errors import FastdiffError
from ..core.prediction import Prediction
from ..core.schedule import Schedule, like
from ..data.registry import Batch
from .distances import L1, LPIPS, Distance, Huber, PseudoHuber, SquaredL2, per_sample, pseudo_huber  # noqa: F401
from .time_sampling import Importance, Law, LogitNormal, LogNormal, Uniform  # noqa: F401  laws of times are shared too

Nets = dict[str, nn.Module]


class Progress(NamedTuple):
    """Where a training is: steps done, steps in all, images seen."""

    step: int
    steps: int
    images: int

    @property
    def fraction(self) -> float:
        return self.step / self.steps


@dataclass
class Method:
    """Fields are hyperparameters: they are the recipe's schema and defaults."""

    training: ClassVar[dict[str, Any]] = {}       # the method's own defaults of the training settings
    teaches: ClassVar[bool] = False               # a teacher is needed
    paired: ClassVar[bool] = False                # stored pairs of noise and sample are needed: batch.eps
    needs_images: ClassVar[bool] = True           # or only the shape of batch.x0 and the labels; may be a property
    cycle: ClassVar[int] = 1                      # steps after which the turns repeat; may be a property

    def ready(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Refuse, before a training, data that are not for a distance, or one whose weights are not there."""
        for setting in fields(self):
            if isinstance(distance := getattr(self, setting.name), Distance):
                distance.ready(shape, device)

    def student(self, model: Denoiser) -> Denoiser:
        """What is trained, made of the model it starts from."""
        return model

    def extras(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks kept and saved besides the student, by role; those that appear in a turn are trained."""
        return {}

    def frozen(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks consulted and never trained."""
        return {}

    def averages(self) -> dict[str, Callable[[Progress], float]]:
        """Running averages of the student that serve as targets: role -> decay. (Not the exported EMA.)"""
        return {}

    def turns(self, progress: Progress) -> tuple[tuple[str, ...], ...]:
        """The roles that learn from one loss, turn after turn, at this step."""
        return (("student",),)

    def loss(self, turn: tuple[str, ...], nets: Nets, batch: Batch, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and what to log."""
        raise NotImplementedError

    def teacher_nfe(self) -> int:
        """Teacher evaluations a training example costs."""
        return 0

    def sampling(self) -> Sampling:
        """How a student of this method is to be sampled; stored with it."""
        raise NotImplementedError


def bare(net: nn.Module) -> nn.Module:
    """The network inside a data-parallel wrapper."""
    return getattr(net, "module", net) if not isinstance(net, Denoiser) else net


def copied(model: Denoiser) -> Denoiser:
    """A copy that is to learn."""
    return deepcopy(model).train().requires_grad_(True)


def twice(cond: Cond) -> Cond:
    """A condition for two batches in a row."""
    return cond and {name: torch.cat([value, value]) for name, value in cond.items()}


def numbers_of_steps(steps: tuple[int, ...]) -> None:
    """Refuse what are no numbers of steps to train one student for."""
    if not steps or min(steps) < 1:
        raise FastdiffError(f"steps = {list(steps)}: expected numbers of steps, each at least 1")


def after(telling: tuple[str, ...], turns: int, progress: Progress) -> tuple[tuple[str, ...], ...]:
    """The turns of a step where those who tell samples apart have so many for one of the student."""
    return (telling, ("student",)) if (progress.step + 1) % turns == 0 else (telling,)


def guided(model: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond, weight: float | Tensor) -> Prediction:
    """A model's (x0, eps) under classifier-free guidance: both are null + weight (cond - null); a weight of 1 is none."""
    own = model(x, t, s, cond)
    if not isinstance(weight, Tensor) and weight == 1:
        return own
    if not {"label", "text"} & set(cond or ()):
        raise FastdiffError("guidance needs labels or captions of the data: choose a weight of 1, which is none")
    null = model(x, t, s, model.null(cond))
    return Prediction(x, *(apart + weight * (mine - apart) for mine, apart in zip(own, null, strict=True)))


def alike(x: Tensor) -> AbstractContextManager:
    """Dropout inside draws the masks that it would draw outside, and again after: two passes share theirs."""
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def jvp(function: Callable, primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """A function's value and its derivative along the tangents, without gradients, and nothing below float32.

    By forward differentiation: for attention by its plain formula, whose faster forms have none. (torch.func.jvp, which
    does the same, takes a sixth longer.)
    """
    with torch.no_grad(), torch.autocast(primals[0].device.type, enabled=False), sdpa_kernel(SDPBackend.MATH), dual_level():
        return tuple(unpack_dual(function(*map(make_dual, primals, tangents))))


def heun(teacher: Denoiser, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """A step of second order, exact where (x0, eps) is constant on the way; into s = 0, where eps may be 0 / 0, of first."""
    here = teacher(x, t, s, cond)
    near = schedule.mix(*here, s)
    there = teacher(near, s, s, cond)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    turn = like(alpha_s - alpha_t, x) * (there.x0 - here.x0) + like(sigma_s - sigma_t, x) * (there.eps - here.eps)
    return torch.where(like(s > 0, x) > 0, near + turn / 2, near)


def by_level(name: str, value: Tensor, share: Tensor) -> dict[str, Tensor]:
    """What to log of a value (B,): its mean, and that of each third of the times, as shares of t_max (0 where none is)."""
    inside = (3 * share).long().clamp(0, 2).to(value.device)[:, None] == torch.arange(3, device=value.device)
    parts = torch.where(inside, value[:, None], 0).sum(0) / inside.sum(0).clamp(min=1)      # what is not finite stays apart
    return {name: value.mean()} | {f"{name}_{level}": part for level, part in zip(("low", "mid", "high"), parts)}


def boundary(schedule: Schedule, t: Tensor, f: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """What to log of clean predictions f near the data, sigma below alpha / 10: their distance from x0 (0 where none is)."""
    near = (ratio_of(schedule, t) < 0.1).to(x0.device)
    error = per_sample((f.detach() - x0).square()).sqrt()
    return {"boundary": torch.where(near, error, 0).sum() / near.sum().clamp(min=1)}


# Few steps, of which the first is at sigma / alpha = 80 and the last at 0.8, about where iCT and sCM have their second.
FEW = Sampling("consistency", "karras[ratio_min=0.8]", (1, 2, 4, 8))


class Consistency(Method):
    """The student agrees with itself a little nearer the data, on the straight path of (x0, eps).

    A kind of it says at which pairs of times, and what it takes for x_s, for the target and for the loss's unit.
    """

    def __post_init__(self):
        if self.times.memory() is not None:
            raise FastdiffError("times: importance is for denoising, choose uniform, lognormal or logit_normal")

    def extras(self, student, teacher):
        identity_at_data(student)
        return {}

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        schedule = model.schedule
        t, s = self.pair(batch.rng, schedule, progress)
        eps = batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        x = schedule.mix(batch.x0, eps, t)
        # The pass with gradients comes first: older autocasts keep the weights that one without has cast, and lose them.
        with alike(x):                                                            # the same dropout mask for both
            f = nets["student"](x, t, torch.zeros_like(t), batch.cond).x0
        with torch.no_grad():
            target = self.target(nets, self.nearer(nets, batch, x, eps, t, s), s, batch.cond)
            error = per_sample((f - target).square()).sqrt()
        loss = (self.distance(f, target) / self.width(schedule, t, s)).mean()
        return loss, {"gap": ((t - s) / schedule.t_max).mean(), **boundary(schedule, t, f, batch.x0),
                      **self.health(schedule, t, error)}

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
        raise FastdiffError(f"consistency needs f(x, 0) = x, which a model that predicts {student.predicts} does not "
                            "have: choose v, velocity or edm")
