"""A network, its schedule and its parameterisation, seen by the world as one prediction of (x0, eps)."""

from collections.abc import Iterable
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from itertools import chain
from math import floor
from typing import Any

import torch
from torch import Tensor, nn

from .errors import FastdiffError
from .prediction import ROWS, TIME_INPUTS, Prediction, RawPrediction, Solution, ratio_of
from .schedule import Schedule, like

Cond = dict[str, Tensor] | None

TEXT = ("text", "pooled", "mask")  # of a condition: what a prompt is embedded as
REMEMBERED = 4096  # times whose solution a model keeps: an adaptive solver's never end


@dataclass(frozen=True)
class Sampling:
    """How a model is meant to be sampled: stored with it, and the default of every command."""

    sampler: str = "ddim"
    spacing: str = "uniform"
    steps: tuple[int, ...] = (50,)  # the step counts it was trained for
    only: bool = False  # other step counts are refused
    times: tuple[
        tuple[float, ...], ...
    ] = ()  # grids found for this very model, one a step count, without the 0

    def spacing_for(self, steps: int) -> str | tuple[float, ...]:
        """What time_grid makes the model's own grid of: the times found for that many steps, else the spacing."""
        return next((times for times in self.times if len(times) == steps), self.spacing)

    def with_times(self, times: Iterable[float]) -> "Sampling":
        """The same with this grid, its 0 given or not, for its step count."""
        times = tuple(t for t in map(float, times) if t)
        others = [known for known in self.times if len(known) != len(times)]
        return replace(self, times=tuple(sorted([*others, times], key=len)))


class Apart(tuple):
    """What copies of its owner share."""

    def __deepcopy__(self, memo: Any) -> "Apart":
        return self


class Denoiser(nn.Module):
    """Any network net(x, t, s, cond) as a model; the border for dtype, time units and input scaling.

    predicts: a key of ROWS. shape: of one sample, (C, H, W) or (D,). time_input: a key of TIME_INPUTS.
    sigma_data, scale_input: as in EDM; the input is divided by the standard deviation of x_t where scale_input is set.
    two_times: the network also looks at s, the time to be jumped to. sampling: how it is meant to be sampled.
    guidance: the range of weights that the network was trained to be told in cond["guidance"] (B,), None where it is told
    none: it answers at once with null + guidance (cond - null), 1 being none, as everywhere here.
    latent: what its x are decoded by, networks.latent.Autoencoder. text: what prompts are embedded by, networks.text.
    base: the model whose samples are its cond["image"], of a cascade. The three are no children: copies share them.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        predicts: str,
        shape: tuple[int, ...] | None = None,
        time_input: str = "timestep",
        sigma_data: float = 1.0,
        scale_input: bool = False,
        two_times: bool = False,
        sampling: Sampling = Sampling(),
        guidance: tuple[float, float] | None = None,
        latent: Any = None,
        text: Any = None,
        base: "Denoiser | None" = None,
    ):
        super().__init__()
        for what, name, known in (("predicts", predicts, ROWS), ("time_input", time_input, TIME_INPUTS)):
            if name not in known:
                raise FastdiffError(f"{what}: {name!r} is unknown, choose from {', '.join(known)}")
        self.net, self.schedule, self.predicts, self.shape = net, schedule, predicts, shape
        self.time_input, self.sigma_data, self.scale_input, self.two_times = (
            time_input,
            sigma_data,
            scale_input,
            two_times,
        )
        self.sampling, self.guidance = sampling, guidance
        self.latent, self.text, self._base = latent, text, Apart((base,))  # where a model is no child
        self.solved: dict[float, Solution] = {}

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Prediction:
        """Predict x (B, ...) at time t (0-dim or (B,)); s is where the caller will jump to, t itself if not given."""
        at = self.solve(t)
        return self.split(x, self.answer(x, at, t, s, cond), at)

    def raw(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        """The network's own output, in its own parameterisation."""
        return self.answer(x, self.solve(t), t, s, cond)

    def answer(self, x: Tensor, at: Solution, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor:
        """The same where the time is solved already. No label is the null class, and no prompt the empty one."""
        if self.text and (not cond or "text" not in cond):
            cond = (cond or {}) | {name: value.to(x.device) for name, value in self.text.null(len(x)).items()}
        dtype = next((p.dtype for p in self.net.parameters()), x.dtype)
        inner = x * like(at.scale, x) if self.scale_input else x
        t_in = clock(at, x, dtype)
        s_in = None if not self.two_times else t_in if s is None or s is t else clock(self.solve(s), x, dtype)
        return self.net(inner.to(dtype), t_in, s_in, cond).to(x.dtype)

    def row(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b): the network's output is a x0 + b eps at time t."""
        return ROWS[self.predicts](self.schedule, t, self.sigma_data)

    def entrance(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What x is multiplied by on its way into the network, and the time as the network reads it."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        scale = (
            ((self.sigma_data * alpha) ** 2 + sigma**2).rsqrt()
            if self.scale_input
            else torch.ones_like(alpha)
        )
        return scale, TIME_INPUTS[self.time_input](t, self.schedule)

    def solve(self, t: Tensor) -> Solution:
        """The solution of x = alpha x0 + sigma eps, output = a x0 + b eps. Of a 0-dim t: numbers, computed once."""
        if t.ndim == 0 and (known := self.solved.get(float(t))):
            return known
        (alpha, sigma), (a, b) = self.schedule.alpha_sigma(t), self.row(t)
        det = alpha * b - sigma * a
        solution = Solution(b / det, -sigma / det, -a / det, alpha / det, *self.entrance(t))
        if t.ndim:
            return solution
        if len(self.solved) >= REMEMBERED:
            self.solved.clear()
        return self.solved.setdefault(float(t), Solution(*map(float, solution)))

    def split(self, x: Tensor, output: Tensor, at: Solution) -> Prediction:
        """The pair (x0, eps) that the network's output stands for."""
        output, extra = (
            (output[:, : x.shape[1]], output[:, x.shape[1] :]) if output.shape != x.shape else (output, None)
        )
        return RawPrediction(x, output, at, extra)

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should output for this x0 and eps; linear, so it also maps errors of the pair."""
        a, b = self.row(t)
        return like(a, x0) * x0 + like(b, x0) * eps

    def null(self, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        """The condition that stands for none: the null class, the empty prompt; an image stays, a weight of guidance not."""
        null = {name: value for name, value in cond.items() if name not in ("guidance", *TEXT)}
        if "label" in cond and self.net.null_label is None and getattr(self.net, "classes_known", None):
            raise FastdiffError("guidance needs a null class, and this model knows none")
        if "label" in cond and self.net.null_label is not None:
            null["label"] = torch.full_like(cond["label"], self.net.null_label)
        if "text" in cond:
            null |= {name: value.to(cond[name]) for name, value in self.text.null(len(cond["text"])).items()}
        return null

    def on_top_of(self, base: "Denoiser | None") -> "Denoiser":
        """Itself as the upper model of a cascade; its shallow copy, as it was, where there is no base."""
        model = copy(self)
        model._base = Apart((base,))
        return model

    @property
    def base(self) -> "Denoiser | None":
        return self._base[0]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of what sampling gives: shape, or what that is decoded to."""
        return self.latent.shape_of(self.shape) if self.latent else self.shape

    @property
    def classes(self) -> int | None:
        """How many classes its network takes; None where it takes no labels."""
        return getattr(self.net, "classes_known", getattr(self.net, "null_label", None))

    def decoded(self, x: Tensor) -> Tensor:
        """Images (B, *image_shape) of clean x."""
        return self.latent.decode(x) if self.latent else x

    def on(self, schedule: Schedule) -> "Denoiser":
        """The same network seen on another schedule; the weights are shared."""
        return self if schedule == self.schedule else Matched(self, schedule)

    @property
    def device(self) -> torch.device:
        return next((p.device for p in chain(self.parameters(), self.buffers())), torch.device("cpu"))


def clock(at: Solution, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The time (B,) as a network of this dtype reads it: never below float32, where 999 and 1000 would be one."""
    dtype = torch.promote_types(dtype, torch.float32)
    return (
        x.new_full((len(x),), at.clock, dtype=dtype)
        if isinstance(at.clock, float)
        else at.clock.to(x.device, dtype)
    )


def with_second_time(model: Denoiser) -> Denoiser:
    """A copy that also looks at s; until it is trained, its output is the model's. A model of two times stays itself."""
    if model.two_times:
        return model
    if not hasattr(model.net, "with_second_time"):
        raise FastdiffError(
            f"{type(model.net).__name__} takes no second time: only fastdiff.networks can be given one"
        )
    student = deepcopy(model)
    student.net, student.two_times = model.net.with_second_time(), True
    return student


def with_guidance(model: Denoiser, weights: tuple[float, float]) -> Denoiser:
    """A copy that is told a guidance weight of this range; until it is trained, its output is the model's."""
    if getattr(model.net, "null_label", None) is None and not model.text:
        raise FastdiffError(
            "guidance needs a model with labels and a null class, or with prompts: this one takes none"
        )
    if not hasattr(model.net, "with_guidance"):
        raise FastdiffError(
            f"{type(model.net).__name__} takes no guidance weight: only fastdiff.networks can be given one"
        )
    student = deepcopy(model)
    student.net, student.guidance = student.net if model.guidance else model.net.with_guidance(), weights
    return student


def told(x: Tensor, cond: Cond) -> Tensor:
    """The weights (B,) that a network is told, 1 where nothing is said, a hundredfold: 0 to 10 as the times 0 to 1000."""
    return 100 * (cond["guidance"].to(x) if cond and "guidance" in cond else torch.ones_like(x))


BEYOND = 1e-5  # of t_max: how far past its end a matched time still counts as the end


class Matched(Denoiser):
    """A model seen on another schedule: its network is asked at the time where its own sigma / alpha is the same.

    x differs from the network's own x by a factor, so both hold one x0 and one eps (Karras et al. 2022,
    section 2). More noise than at the network's own t_max is refused: it was never trained there.
    """

    def __init__(self, model: Denoiser, schedule: Schedule):
        super().__init__(
            model.net,
            schedule,
            model.predicts,
            model.shape,
            model.time_input,
            model.sigma_data,
            True,
            model.two_times,
            replace(model.sampling, times=()),
            model.guidance,
            model.latent,
            model.text,
            model.base,
        )
        object.__setattr__(self, "model", model)  # not a child: its weights are already this one's
        self.train(model.training)
        top = torch.tensor(schedule.t_max, dtype=torch.float64)
        self.outreaches = bool(
            model.schedule.time_of(ratio_of(schedule, top)) > model.schedule.t_max * (1 + BEYOND)
        )

    def on(self, schedule):
        return self.model.on(schedule)

    def own_time(self, t: Tensor) -> Tensor:
        """The time of equal sigma / alpha on the network's own schedule."""
        own = self.model.schedule
        u = own.time_of(ratio_of(self.schedule, t))
        if (
            self.outreaches and (u > own.t_max * (1 + BEYOND)).any()
        ):  # a GPU is kept waiting only where it can be so
            raise FastdiffError(self.refusal(t.max()))
        return u.clamp(0, own.t_max)

    def refusal(self, t: Tensor) -> str:
        """Why there is no prediction at t, and from where on there is."""
        last = ratio_of(self.model.schedule, torch.tensor(self.model.schedule.t_max, dtype=torch.float64))
        start = floor(float(self.schedule.time_of(last)) / self.schedule.t_max * 1e4) / 1e4
        asked = float(ratio_of(self.schedule, t))
        return (
            f"t = {float(t):.6g} of {self.schedule} has sigma / alpha = {asked:.4g}, more than the {float(last):.4g} "
            f"where this network's own schedule ends: start the grid there (start={start:g}), or choose a schedule "
            "that ends no later"
        )

    def row(self, t):
        return self.model.row(self.own_time(t))

    def entrance(self, t):
        u = self.own_time(t)
        (alpha, sigma), (own_alpha, own_sigma) = (
            self.schedule.alpha_sigma(t),
            self.model.schedule.alpha_sigma(u),
        )
        scale, clock = self.model.entrance(u)
        return scale * own_alpha.hypot(own_sigma) / alpha.hypot(sigma), clock
