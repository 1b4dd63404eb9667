"""A network, its schedule and its parameterization, wrapped as one prediction of (x0, eps)."""

from copy import copy, deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from .broadcast import like
from .errors import FastdiffError
from .network import Network, interface_of
from .prediction import ROWS, TIME_INPUTS, Prediction, RawPrediction, Solution
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

    The autoencoder, the text encoder and the base are not submodules: copies of the model share them.
    Schedule and parameterization are read-only, since solved
    coefficients are cached; see `reparameterized` and `on`.

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
        """Predict (x0, eps) of noised samples.

        Args:
            x: samples (B, ...) at time t.
            t: time, 0-dim or (B,).
            s: time to jump to, of t's shape; t itself if None. A model of one time ignores it.
            cond: condition, a row for each sample.
        """
        at = self.solve(t)
        return self.split(x, self.answer(x, at, t, s, cond), at)

    def raw(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        """Return the network's own output, in its own parameterization; see `forward` for the arguments."""
        return self.answer(x, self.solve(t), t, s, cond)

    def answer(self, x: Tensor, at: Solution, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor:
        """Call the network with precomputed coefficients.

        A missing label becomes the null class, and a missing prompt the empty prompt.
        """
        if self.text and (not cond or "text" not in cond):
            cond = (cond or {}) | {name: value.to(x.device) for name, value in self.text.null(len(x)).items()}
        dtype = next((p.dtype for p in self.net.parameters()), x.dtype)
        inner = x * like(at.scale, x) if self.scale_input else x
        t_in = clock(at, x, dtype)
        s_in = None if not self.two_times else t_in if s is None or s is t else clock(self.solve(s), x, dtype)
        return self.net(inner.to(dtype), t_in, s_in, cond).to(x.dtype)

    def row(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a, b), of t's shape, where the network's output at time t is a x0 + b eps."""
        return ROWS[self.predicts](self.schedule, t, self.sigma_data)

    def entrance(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale of the network's input x, and the time as the network takes it."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        scale = (
            ((self.sigma_data * alpha) ** 2 + sigma**2).rsqrt()
            if self.scale_input
            else torch.ones_like(alpha)
        )
        return scale, TIME_INPUTS[self.time_input](t, self.schedule)

    def solve(self, t: Tensor) -> Solution:
        """Solve x = alpha x0 + sigma eps and output = a x0 + b eps for (x0, eps).

        For a 0-dim t the coefficients are numbers, and are cached.
        """
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
        """Return the prediction that the network's output stands for."""
        extra = None
        if output.shape != x.shape:
            channels = x.shape[1]
            output, extra = output[:, :channels], output[:, channels:]
        return RawPrediction(x, output, at, extra)

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return the output of a perfect network for x0 and eps; linear, so it also maps their errors."""
        a, b = self.row(t)
        return like(a, x0) * x0 + like(b, x0) * eps

    def null(self, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the null condition of the same samples: the null class and the empty prompt.

        An image stays, and a guidance weight is left out.

        Raises:
            FastdiffError: for labels of a model without a null class.
        """
        null = {name: value for name, value in cond.items() if name not in ("guidance", *TEXT)}
        if "label" in cond and self.null_label is None and self.classes:
            raise FastdiffError("guidance needs a null class, and this model knows none")
        if "label" in cond and self.null_label is not None:
            null["label"] = torch.full_like(cond["label"], self.null_label)
        if "text" in cond:
            null |= {name: value.to(cond[name]) for name, value in self.text.null(len(cond["text"])).items()}
        return null

    def with_base(self, base: "Denoiser | None") -> "Denoiser":
        """Return a shallow copy with another base, or with none."""
        model = copy(self)
        model._base = Unregistered(base)
        return model

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of a sample as it is returned: `shape`, or that of decoded latents."""
        return self.latent.shape_of(self.shape) if self.latent else self.shape

    def decoded(self, x: Tensor) -> Tensor:
        """Return images (B, *image_shape) of clean samples x."""
        return self.latent.decode(x) if self.latent else x

    def reparameterized(self, predicts: str, sigma_data: float) -> "Denoiser":
        """Return a model of the same network whose output is read as another key of ROWS."""
        model = deepcopy(self, {id(self.net): self.net})
        model._predicts = predicts
        model._sigma_data = sigma_data
        model._solved = {}
        return model

    def on(self, schedule: Schedule) -> "Denoiser":
        """Return the same network on another schedule; the weights are shared."""
        from .rescheduled import RescheduledDenoiser  # which is a Denoiser

        return self if schedule == self.schedule else RescheduledDenoiser(self, schedule)

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next((p.device for p in chain(self.parameters(), self.buffers())), torch.device("cpu"))


def clock(at: Solution, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the time (B,) as a network of this dtype takes it, in float32 at least.

    In half precision the timesteps 999 and 1000 would be one.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    if isinstance(at.clock, float):
        return x.new_full((len(x),), at.clock, dtype=dtype)
    return at.clock.to(x.device, dtype)
