"""A network, its schedule and its parameterization, wrapped as one prediction of (x0, eps)."""

from copy import copy, deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from .bare_network import as_network
from .broadcast import like
from .condition import NEGATIVE_KEYS, PROMPT_KEYS, Cond, null_prompt, with_label
from .errors import FastdiffError
from .model_card import model_card
from .network import Network, interface_of
from .prediction import (
    PREDICTION_TYPES,
    TIME_INPUTS,
    Prediction,
    RawPrediction,
    Solution,
    checked_output,
    time_embedding_input,
)
from .sampling import Sampling
from .schedule import Schedule
from .unregistered import Unregistered
from .wording import suggestion

MAX_SOLUTIONS = 4096  # bound of the cached times, since an adaptive solver visits new ones without end


class Denoiser(nn.Module):
    """A network net(x, t, s, cond) as a model of (x0, eps); converts dtype, time units and input scale.

        model = Denoiser(net, SCHEDULES["cosine"](), "v", shape=(3, 32, 32))
        x0, eps = model(x, t)
        images = fastdiff.sample(model, steps=50, n=16)

    The autoencoder, the text encoder and the base are not submodules: copies of the model share them.
    Schedule and parameterization are read-only: `with_schedule` and `reparameterized` return changed models.

    Args:
        net: a Network, or what `as_network` makes one of: any module or function net(x (B, ...), t (B,)), or
            with s (B,) or None and cond after them; or a network of diffusers. It returns a tensor of x's
            shape, or with twice as many channels, of which the second half is a variance.
        schedule: noise schedule of the times t and s.
        predicts: quantity that the network predicts, a key of PREDICTION_TYPES.
        shape: shape of one sample, (C, H, W) or (D,); None if the model is only called and never sampled.
        time_input: unit of the network's time, a key of TIME_INPUTS.
        sigma_data: standard deviation of the data, as in EDM (Karras et al. 2022).
        scale_input: divide the network's input by the standard deviation of x_t.
        two_times: whether the network also takes s, the time to jump to.
        sampling: default sampler, grid and step counts.
        guidance: range (low, high) of the guidance weight that the network takes as cond["guidance"], to
            return null + guidance (cond - null) in one evaluation; None if it takes no weight.
        latent: the networks.autoencoder.Autoencoder that decodes samples, for a model of latents.
        text: the networks.text_encoder.TextEncoder that embeds prompts, for a model with prompts.
        base: the model whose samples are cond["image"], for the upper model of a cascade.

    Raises:
        FastdiffError: if `predicts` or `time_input` is unknown.
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
        choices = (("predicts", predicts, PREDICTION_TYPES), ("time_input", time_input, TIME_INPUTS))
        for what, name, known in choices:
            if name not in known:
                raise FastdiffError(f"{what}: {name!r} is unknown{suggestion(name, list(known))}", key=what)
        self.net = as_network(net, shape)
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
        """The noise schedule of the model's times."""
        return self._schedule

    @property
    def predicts(self) -> str:
        """The quantity that the network predicts, a key of PREDICTION_TYPES."""
        return self._predicts

    @property
    def time_input(self) -> str:
        """The unit of the network's time, a key of TIME_INPUTS."""
        return self._time_input

    @property
    def sigma_data(self) -> float:
        """The standard deviation of the data, as in EDM."""
        return self._sigma_data

    @property
    def scale_input(self) -> bool:
        """True if the network's input is divided by the standard deviation of x_t."""
        return self._scale_input

    @property
    def latent(self) -> Any:
        """The autoencoder that decodes samples, or None."""
        return self._latent.value

    @latent.setter
    def latent(self, value: Any) -> None:
        self._latent = Unregistered(value)

    @property
    def text(self) -> Any:
        """The text encoder that embeds prompts, or None."""
        return self._text.value

    @property
    def base(self) -> "Denoiser | None":
        """The lower model of a cascade, whose samples are this model's condition images, or None."""
        return self._base.value

    @property
    def interface(self) -> Network:
        """The network's declarations about its inputs and outputs."""
        return interface_of(self.net)

    @property
    def condition_channels(self) -> int:
        """The number of channels of the condition image; 0 if the network takes no image."""
        return self.interface.condition_channels

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None if the network has no such class."""
        return self.interface.null_label

    @property
    def classes(self) -> int | None:
        """The number of classes that the network takes as labels; None if it takes no labels."""
        return self.interface.num_classes

    @property
    def learned_variance(self) -> bool:
        """True if the network also predicts the variance of a reverse step."""
        return self.interface.learned_variance

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Prediction:
        """Predict the clean data and the noise in noised samples.

            x0, eps = model(x, t, cond={"label": labels})

        Args:
            x: samples (B, ...) at time t.
            t: time from 0 (data) to schedule.t_max (noise), 0-dim float64 on the CPU or (B,).
            s: time to jump to, of t's shape; t itself if None. A model of one time ignores it.
            cond: condition with one row per sample, see `core.condition` for its keys.

        Returns:
            A Prediction, which unpacks as (x0, eps), both of x's shape and dtype, and satisfies
            x = alpha x0 + sigma eps; `extra` holds the network's further output channels.
        """
        at = self.solve_coefficients(t)
        return self.to_prediction(x, self.call_network(x, at, t, s, cond), at)

    def raw(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        """Return the network's output as it is, (B, ...); the arguments are those of `forward`."""
        cond = with_label(cond, x) if self.classes and self.null_label is None else cond
        return self.call_network(x, self.solve_coefficients(t), t, s, cond)

    def call_network(self, x: Tensor, at: Solution, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor:
        """Call the network with precomputed coefficients; a missing prompt becomes the empty prompt."""
        if self.text and (not cond or "text" not in cond):
            cond = (cond or {}) | {name: value.to(x.device) for name, value in self.text.null(len(x)).items()}
        dtype = next((p.dtype for p in self.net.parameters()), x.dtype)
        inner = x * like(at.scale, x) if self.scale_input else x
        t_in = s_in = time_embedding_input(at, x, dtype)
        if s is not None and s is not t and self.two_times:
            s_in = time_embedding_input(self.solve_coefficients(s), x, dtype)
        output = self.net(inner.to(dtype), t_in, s_in if self.two_times else None, cond)
        return checked_output(output, x).to(x.dtype)

    def output_coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a, b), each of t's shape, with which the network's output at time t is a x0 + b eps."""
        return PREDICTION_TYPES[self.predicts](self.schedule, t, self.sigma_data)

    def preconditioning(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factor of the network's input x and the network's time, each of t's shape."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        scale = torch.ones_like(alpha)
        if self.scale_input:
            scale = ((self.sigma_data * alpha) ** 2 + sigma**2).rsqrt()
        return scale, TIME_INPUTS[self.time_input](t, self.schedule)

    def solve_coefficients(self, t: Tensor) -> Solution:
        """Solve x = alpha x0 + sigma eps and output = a x0 + b eps for (x0, eps).

        For a 0-dim t the coefficients are numbers, and are cached.
        """
        if t.ndim == 0 and (known := self._solved.get(float(t))):
            return known
        (alpha, sigma), (a, b) = self.schedule.alpha_sigma(t), self.output_coefficients(t)
        det = alpha * b - sigma * a
        inverse = (b / det, -sigma / det, -a / det, alpha / det)
        solution = Solution(*inverse, *self.preconditioning(t), alpha, sigma)
        if t.ndim:
            return solution
        if len(self._solved) >= MAX_SOLUTIONS:
            self._solved.clear()
        return self._solved.setdefault(float(t), Solution(*map(float, solution)))

    def to_prediction(self, x: Tensor, output: Tensor, at: Solution) -> Prediction:
        """Return the prediction (x0, eps) for x and the network's output at the time of the coefficients."""
        output, extra = (output, None) if output.shape == x.shape else output.chunk(2, 1)
        return RawPrediction(x, output, at, extra)

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return the output of a perfect network for x0 and eps; linear, so it also maps their errors."""
        a, b = self.output_coefficients(t)
        return like(a, x0) * x0 + like(b, x0) * eps

    def null(self, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the null condition of the same samples: the null class, the negative or empty prompt.

        A condition image is kept, and a guidance weight is left out.

        Raises:
            FastdiffError: if there are labels and the model has no null class.
        """
        left_out = ("guidance", *PROMPT_KEYS, *NEGATIVE_KEYS.values())
        null = {name: value for name, value in cond.items() if name not in left_out}
        if "label" in cond and self.null_label is None and self.classes:
            raise FastdiffError("guidance needs a null class, and this model has no null class")
        if "label" in cond and self.null_label is not None:
            null["label"] = torch.full_like(cond["label"], self.null_label)
        return null | null_prompt(cond, self.text)

    def with_base(self, base: "Denoiser | None") -> "Denoiser":
        """Return a shallow copy with another base model; None for no base."""
        model = copy(self)
        model._base = Unregistered(base)
        return model

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of a returned sample: `shape`, or that of decoded latents."""
        return self.latent.shape_of(self.shape) if self.latent else self.shape

    def decoded(self, x: Tensor) -> Tensor:
        """Return clean samples x (B, *shape) as images (B, *image_shape), decoded if they are latents."""
        return self.latent.decode(x) if self.latent else x

    def reparameterized(self, predicts: str, sigma_data: float) -> "Denoiser":
        """Return a model whose network's output means another key of PREDICTION_TYPES; weights are shared."""
        model = deepcopy(self, {id(self.net): self.net})
        model._predicts = predicts
        model._sigma_data = sigma_data
        model._solved = {}
        return model

    def with_schedule(self, schedule: Schedule) -> "Denoiser":
        """Return the model on another schedule, evaluated at equal sigma / alpha; weights are shared."""
        from .rescheduled import RescheduledDenoiser  # imported late: it is a subclass of Denoiser

        return self if schedule == self.schedule else RescheduledDenoiser(self, schedule)

    def on(self, schedule: Schedule) -> "Denoiser":
        """Return `with_schedule(schedule)`, under its former name."""
        return self.with_schedule(schedule)

    @property
    def device(self) -> torch.device:
        """The device of the network's weights."""
        return next((p.device for p in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def __repr__(self) -> str:
        return model_card(self)
