"""The base class of diffusers' image networks: extra input channels, and copies with more inputs."""

from typing import Any, ClassVar, Self

import torch
from diffusers import ModelMixin
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn.functional import interpolate
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from ..core.extra_inputs import scaled_guidance
from ..core.network import Network

EMBEDDING_CHANNELS = 16  # input channels that embed one number, the second time or the guidance weight


class Backbone(Network):
    """A module of diffusers for images (B, C, H, W) whose first convolution, `stem`, may have extra channels.

    The C channels of the data are followed by those of a condition image, fewer than EMBEDDING_CHANNELS; in
    networks that take two times, by EMBEDDING_CHANNELS sines and cosines of t - s; and in networks that take
    the guidance weight as input channels, by EMBEDDING_CHANNELS sines and cosines of the weight.

    Args:
        module: module of diffusers.
        channels: channels of the data; None for those of the module.
        guided: whether the guidance weight has input channels.

    Attributes:
        stem: name of the module's first convolution.
        each: number of the module's channels per channel here (4 where latents are packed 2 x 2).
        jumps: whether t - s has input channels.
    """

    stem: ClassVar[str] = "conv_in"
    each: ClassVar[int] = 1

    def __init__(self, module: ModelMixin, channels: int | None = None, guided: bool = False) -> None:
        super().__init__()
        self.module = module
        self.guided = guided
        known = module.config.in_channels // self.each
        self.channels = known if channels is None else channels
        embeddings, self.condition_channels = divmod(known - self.channels, EMBEDDING_CHANNELS)
        self.jumps = embeddings > guided

    @classmethod
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        """Wrap a stored module for samples of a shape; raise ValueError if it produces another shape."""
        beyond = module.config.in_channels // cls.each - shape[0] - EMBEDDING_CHANNELS * guided
        made = output_channels(module) // cls.each
        if (
            len(shape) != 3
            or not 0 <= beyond < 2 * EMBEDDING_CHANNELS
            or made not in (shape[0], 2 * shape[0])
        ):
            raise ValueError(
                f"{module.config.in_channels} to {output_channels(module)} channels, guided {guided}: "
                f"it cannot produce samples of shape {tuple(shape)}"
            )
        return cls(module, shape[0], guided)

    @property
    @override
    def learned_variance(self) -> bool:
        return output_channels(self.module) == 2 * self.channels * self.each

    def inputs(self, x: Tensor, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor:
        """Return x (B, C, H, W) with the extra channels appended."""
        parts = [x]
        if self.condition_channels:
            parts.append(fitted(cond, self.condition_channels, x))
        numbers = []
        if self.jumps:
            numbers.append(t - (t if s is None else s))
        if self.guided:
            numbers.append(scaled_guidance(t, cond))
        for number in numbers:
            embedding = get_timestep_embedding(number, EMBEDDING_CHANNELS, downscale_freq_shift=0).to(x)
            parts.append(like(embedding, x).expand(-1, -1, *x.shape[2:]))
        return torch.cat(parts, 1) if len(parts) > 1 else x

    def labels(self, x: Tensor, cond: Cond) -> Tensor | None:
        """Return the classes (B,), by default the null class; None for a network without classes."""
        if cond and "label" in cond and self.num_classes:
            return cond["label"]
        if self.null_label is None:
            if self.num_classes:
                raise FastdiffError("the network has no null class: it needs labels")
            return None
        return torch.full((len(x),), self.null_label, device=x.device)

    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        """Return Python code that sets `output` to the module's output, for a script without fastdiff.

        Args:
            x: expression for the input.
            t: expression for the time.
            conditions: expressions for the conditions, by their keys in Cond.
        """
        classes = f", class_labels={conditions['label']}" if "label" in conditions else ""
        return f"output = {self.folder}({x}, {t}{classes}).sample"

    def rewrap(self, module: ModelMixin, guided: bool) -> Self:
        """Return a network like this one, with another module."""
        return type(self)(module, self.channels, guided).train(self.training)

    @override
    def with_second_time(self) -> Self:
        place = self.channels + self.condition_channels
        return self.rewrap(widened(self.module, self.stem, place, self.each), self.guided)

    @override
    def with_guidance(self) -> Self:
        place = self.module.config.in_channels // self.each
        return self.rewrap(widened(self.module, self.stem, place, self.each), True)


def output_channels(module: ModelMixin) -> int:
    """Return the number of a module's output channels."""
    return module.config.out_channels or module.config.in_channels


def fitted(cond: Cond, channels: int, x: Tensor) -> Tensor:
    """Return the condition image at the size of x; raise FastdiffError if it is missing or does not fit."""
    image = cond.get("image") if cond else None
    if image is None or image.shape[1] != channels:
        got = "none" if image is None else f"{image.shape[1]}"
        raise FastdiffError(f"the network is conditioned on an image of {channels} channels, got {got}")
    if image.shape[2:] == x.shape[2:]:
        return image.to(x)
    return interpolate(image.float(), x.shape[2:], mode="bilinear", antialias=True).to(x)


def settings_of(module: ModelMixin) -> dict[str, Any]:
    """Return the settings of a module, without the private ones of diffusers."""
    return {name: value for name, value in module.config.items() if not name.startswith("_")}


def rebuild(module: ModelMixin, **change: Any) -> ModelMixin:
    """Return a module with changed settings and newly initialized weights."""
    new = type(module).from_config(settings_of(module) | change)
    return new.to(module.device).type(module.dtype).train(module.training)


def with_extra_layer(module: ModelMixin, layer: str, **change: Any) -> ModelMixin:
    """Return a copy with one more layer, whose output is zero until it is trained.

    Args:
        module: module to copy.
        layer: name of the last part of the new layer, which is initialized to zero.
        change: settings that add the layer.
    """
    new = rebuild(module, **change)
    new.load_state_dict(new.state_dict() | module.state_dict())
    for p in new.get_submodule(layer).parameters():
        nn.init.zeros_(p)
    return new


def widened(module: ModelMixin, stem: str, place: int, each: int) -> ModelMixin:
    """Return a copy with EMBEDDING_CHANNELS more input channels, whose weights are zero.

    Args:
        module: module to copy.
        stem: name of its first convolution.
        place: index of the channel before which they are inserted.
        each: number of the module's channels per new channel.
    """
    kernel = module.get_submodule(stem).weight.detach()
    more = EMBEDDING_CHANNELS * each
    wide = rebuild(module, in_channels=module.config.in_channels + more, out_channels=output_channels(module))
    empty = kernel.new_zeros(len(kernel), more, *kernel.shape[2:])
    kernel = torch.cat([kernel[:, : place * each], empty, kernel[:, place * each :]], 1)
    wide.load_state_dict(module.state_dict() | {f"{stem}.weight": kernel})
    return wide
