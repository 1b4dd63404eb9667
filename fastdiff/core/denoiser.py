"""A network, its schedule and its parameterization, wrapped as one prediction of (x0, eps)."""

from copy import copy, deepcopy
from dataclasses import replace
from itertools import chain
from math import floor
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from .broadcast import like
from .errors import FastdiffError
from .network import Network, interface_of
from .prediction import ROWS, TIME_INPUTS, Prediction, RawPrediction, Solution, ratio_of
from .sampling import Sampling
from .schedule import Schedule
from .unregistered import Unregistered

# What a sample is conditioned on, by name, a row for each sample: label (B,), text (B, L, D), pooled (B, D),
# mask (B, L), image (B, C, h, w), time_ids (B, 6), guidance (B,).
Cond = dict[str, Tensor] | None

TEXT = ("text", "pooled", "mask")  # the keys of a condition that embed a prompt
MAX_SOLUTIONS = 4096  # times whose solution a model keeps: an adaptive solver visits new ones without end


class Denoiser(nn.Module):
    """A network net(x, t, s, cond) as a model of (x0, eps); converts dtype, time units and input scale.

    The autoencoder, the text encoder and the base are not submodules: copies of the model share them. Schedule
    and parameterization are read-only, since solved coefficients are cached; see `reparameterized` and `on`.

    Args:
        net: a Network, or any module with its call.
        schedule: of the times t and s.
        predicts: what the network predicts, a key of ROWS.
        shape: of one sample, (C, H, W) or (D,); None if the model is only called and never sampled.
        time_input: what the network takes as its time, a key of TIME_INPUTS.
        sigma_data: standard deviation of the data, as in EDM (Karras et al. 2022).
        scale_input: divide the network's input by the standard deviation of x_t.
        two_times: whether the network also takes s, the time to jump to.
        sampling: how the model is meant to be sampled.
        guidance: range of the guidance weight that the network takes as cond["guidance"], with which it
            answers null + guidance (cond - null) in one evaluation; None if it takes no weight.
        latent: the networks.autoencoder.Autoencoder that decodes its samples, of a model of latents.
        text: the networks.text_encoder.TextEncoder that embeds its prompts.
        base: the model whose samples are its cond["image"], of a cascade.

    Raises:
        FastdiffError: for an unknown `predicts` or `time_input`.
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
    ) -> None:
        super().__init__()
        for what, name, known in (("predicts", predicts, ROWS), ("time_input", time_input, TIME_INPUTS)):
            if name not in known:
                raise FastdiffError(f"{what}: {name!r} is unknown, choose from {', '.join(known)}", key=what)
        self.net = net
        self.shape = shape
        self.two_times = two_times
        self.sampling = sampling
        self.guidance = guidance
        self._schedule = schedule
        self._predicts = predicts
        self._time_input = time_input
        self._sigma_data = sigma_data
        self._scale_input = scale_input
        self._latent = Unregistered(latent)
        self._text = Unregistered(text)
        self._base = Unregistered(base)
        self._solved: dict[float, Solution] = {}

    @property
    def schedule(self) -> Schedule:
        """The schedule of its times."""
        return self._schedule

    @property
    def predicts(self) -> str:
        """What the network predicts, a key of ROWS."""
        return self._predicts

    @property
    def time_input(self) -> str:
        """What the network takes as its time, a key of TIME_INPUTS."""
        return self._time_input

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data, as in EDM."""
        return self._sigma_data

    @property
    def scale_input(self) -> bool:
        """Whether the network's input is divided by the standard deviation of x_t."""
        return self._scale_input

    @property
    def latent(self) -> Any:
        """The autoencoder that decodes its samples, or None."""
        return self._latent.value

    @latent.setter
    def latent(self, value: Any) -> None:
        self._latent = Unregistered(value)

    @property
    def text(self) -> Any:
        """The text encoder that embeds its prompts, or None."""
        return self._text.value

    @property
    def base(self) -> "Denoiser | None":
        """The model whose samples are its condition image, or None."""
        return self._base.value

    @property
    def interface(self) -> Network:
        """What its network declares about its inputs and outputs."""
        return interface_of(self.net)

    @property
    def condition_channels(self) -> int:
        """Channels of the image that x is conditioned on; 0 for none."""
        return self.interface.condition_channels

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None if there is none."""
        return self.interface.null_label

    @property
    def classes(self) -> int | None:
        """Number of classes that the network takes; None if it takes no labels."""
        return self.interface.num_classes

    @property
    def learned_variance(self) -> bool:
        """Whether the network also predicts a reverse step's variance."""
        return self.interface.learned_variance

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
        if t.ndim == 0 and (known := self._solved.get(float(t))):
            return known
        (alpha, sigma), (a, b) = self.schedule.alpha_sigma(t), self.row(t)
        det = alpha * b - sigma * a
        solution = Solution(b / det, -sigma / det, -a / det, alpha / det, *self.entrance(t), alpha, sigma)
        if t.ndim:
            return solution
        if len(self._solved) >= MAX_SOLUTIONS:
            self._solved.clear()
        return self._solved.setdefault(float(t), Solution(*map(float, solution)))

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
        if "label" in cond and self.null_label is None and self.classes:
            raise FastdiffError("guidance needs a null class, and this model knows none")
        if "label" in cond and self.null_label is not None:
            null["label"] = torch.full_like(cond["label"], self.null_label)
        if "text" in cond:
            null |= {name: value.to(cond[name]) for name, value in self.text.null(len(cond["text"])).items()}
        return null

    def on_top_of(self, base: "Denoiser | None") -> "Denoiser":
        """Itself as the upper model of a cascade; its shallow copy, as it was, where there is no base."""
        model = copy(self)
        model._base = Unregistered(base)
        return model

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of what sampling gives: shape, or what that is decoded to."""
        return self.latent.shape_of(self.shape) if self.latent else self.shape

    def decoded(self, x: Tensor) -> Tensor:
        """Images (B, *image_shape) of clean x."""
        return self.latent.decode(x) if self.latent else x

    def reparameterized(self, predicts: str, sigma_data: float) -> "Denoiser":
        """Return a model of the same network, its output read as another key of ROWS; the weights are shared."""
        model = deepcopy(self, {id(self.net): self.net})
        model._predicts = predicts
        model._sigma_data = sigma_data
        model._solved = {}
        return model

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
    widened = interface_of(model.net).with_second_time()
    student = deepcopy(model)
    student.net = widened
    student.two_times = True
    return student


def with_guidance(model: Denoiser, weights: tuple[float, float]) -> Denoiser:
    """A copy that is told a guidance weight of this range; until it is trained, its output is the model's."""
    if model.null_label is None and not model.text:
        raise FastdiffError(
            "guidance needs a model with labels and a null class, or with prompts: this one takes none"
        )
    student = deepcopy(model)
    if not model.guidance:
        student.net = interface_of(model.net).with_guidance()
    student.guidance = weights
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

    def __init__(self, model: Denoiser, schedule: Schedule) -> None:
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
        self._model = Unregistered(model)  # its network is already this one's submodule
        self.train(model.training)
        top = torch.tensor(schedule.t_max, dtype=torch.float64)
        self.outreaches = bool(
            model.schedule.time_of(ratio_of(schedule, top)) > model.schedule.t_max * (1 + BEYOND)
        )

    @property
    def model(self) -> Denoiser:
        """The model on its own schedule."""
        return self._model.value

    @override
    def on(self, schedule: Schedule) -> Denoiser:
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

    @override
    def row(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.row(self.own_time(t))

    @override
    def entrance(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = self.own_time(t)
        alpha, sigma = self.schedule.alpha_sigma(t)
        own_alpha, own_sigma = self.model.schedule.alpha_sigma(u)
        scale, clock = self.model.entrance(u)
        return scale * own_alpha.hypot(own_sigma) / alpha.hypot(sigma), clock
