"""What the image networks of diffusers share: input channels beyond the data's, for an image and for numbers."""

from typing import Any, Self

import torch
from diffusers import ModelMixin
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..core.broadcast import like
from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from ..core.extra_inputs import told
from ..core.network import Network

PLANES = 16  # input channels that say one number, the second time or the weight of guidance


class Backbone(Network):
    """A module of diffusers for images (B, C, H, W), whose first convolution, `stem`, may see more than x.

    After the C channels of the data come those of an image that x is conditioned on, fewer than PLANES; then
    PLANES of sines and cosines of t - s, of a network of two times; then PLANES of the weight of guidance, of
    one that is told it (guided). channels: of the data, where they are not the module's. each: of the
    module's channels, what is one of ours.
    """

    stem, each = "conv_in", 1

    def __init__(self, module: ModelMixin, channels: int | None = None, guided: bool = False) -> None:
        super().__init__()
        self.module, self.guided = module, guided
        known = module.config.in_channels // self.each
        self.channels = known if channels is None else channels
        numbers, self.image = divmod(known - self.channels, PLANES)
        self.jumps = numbers > guided

    @classmethod
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        """A stored module for samples of a shape; ValueError where it is one of others."""
        beyond, made = (
            module.config.in_channels // cls.each - shape[0] - PLANES * guided,
            outputs(module) // cls.each,
        )
        if len(shape) != 3 or not 0 <= beyond < 2 * PLANES or made not in (shape[0], 2 * shape[0]):
            raise ValueError(
                f"{module.config.in_channels} to {outputs(module)} channels, guided {guided}: "
                f"it makes no samples of shape {tuple(shape)}"
            )
        return cls(module, shape[0], guided)

    @property
    def learned_variance(self) -> bool:
        """Whether the second half of its channels is the variance of a reverse step."""
        return outputs(self.module) == 2 * self.channels * self.each

    def inputs(self, x: Tensor, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor:
        """x and the channels beyond it."""
        parts = [x, fitted(cond, self.condition_channels, x)] if self.condition_channels else [x]
        numbers = [t - (t if s is None else s)] if self.jumps else []
        for number in [*numbers, told(t, cond)] if self.guided else numbers:
            waves = get_timestep_embedding(number, PLANES, downscale_freq_shift=0).to(x)
            parts.append(like(waves, x).expand(-1, -1, *x.shape[2:]))
        return torch.cat(parts, 1) if len(parts) > 1 else x

    def labels(self, x: Tensor, cond: Cond) -> Tensor | None:
        """The classes (B,), the null class where none are given; None for a network without."""
        if cond and "label" in cond and self.num_classes:
            return cond["label"]
        if self.null_label is None:
            if self.num_classes:
                raise FastdiffError("the network knows no null class: it needs labels")
            return None
        return torch.full((len(x),), self.null_label, device=x.device)

    @property
    def num_classes(self) -> int | None:
        """How many classes it takes; None where it takes no labels."""
        return self.null_label

    def spoken(self, x: str, t: str, told: dict[str, str]) -> str:
        """The module's call in a script without fastdiff, in Python's words, as `output`. told: the words of conditions."""
        classes = f", class_labels={told['label']}" if "label" in told else ""
        return f"output = {self.folder}({x}, {t}{classes}).sample"

    def around(self, module: ModelMixin, guided: bool) -> Self:
        """The same around another module."""
        return type(self)(module, self.channels, guided).train(self.training)

    def with_second_time(self) -> Self:
        """A copy that also sees s; until it is trained it does what this one does."""
        return self.around(
            widened(self.module, self.stem, self.channels + self.condition_channels, self.each), self.guided
        )

    def with_guidance(self) -> Self:
        """A copy that is also told a weight of guidance; until it is trained it does what this one does."""
        return self.around(
            widened(self.module, self.stem, self.module.config.in_channels // self.each, self.each), True
        )


def outputs(module: ModelMixin) -> int:
    """The output channels of a module."""
    return module.config.out_channels or module.config.in_channels


def fitted(cond: Cond, channels: int, x: Tensor) -> Tensor:
    """The image that x is conditioned on, at the size of x."""
    image = cond.get("image") if cond else None
    if image is None or image.shape[1] != channels:
        got = "none" if image is None else f"{image.shape[1]}"
        raise FastdiffError(f"the network is conditioned on an image of {channels} channels, got {got}")
    same = image.shape[2:] == x.shape[2:]
    return (
        image.to(x)
        if same
        else interpolate(image.float(), x.shape[2:], mode="bilinear", antialias=True).to(x)
    )


def remade(module: ModelMixin, **change: Any) -> ModelMixin:
    """A module with newly drawn weights, alike but for a change of its settings."""
    config = {
        k: v for k, v in module.config.items() if not k.startswith("_")
    }  # the others are diffusers' notes
    return (
        type(module).from_config(config | change).to(module.device).type(module.dtype).train(module.training)
    )


def grown(module: ModelMixin, still: str, **change: Any) -> ModelMixin:
    """A copy with one more layer, which does nothing yet: the weights of `still` are zero."""
    new = remade(module, **change)
    new.load_state_dict(new.state_dict() | module.state_dict())
    for p in new.get_submodule(still).parameters():
        nn.init.zeros_(p)
    return new


def widened(module: ModelMixin, stem: str, place: int, each: int) -> ModelMixin:
    """A copy with PLANES more input channels at a place of the stem, which do nothing yet."""
    kernel = module.get_submodule(stem).weight.detach()
    wide = remade(module, in_channels=module.config.in_channels + PLANES * each, out_channels=outputs(module))
    empty = kernel.new_zeros(len(kernel), PLANES * each, *kernel.shape[2:])
    kernel = torch.cat([kernel[:, : place * each], empty, kernel[:, place * each :]], 1)
    wide.load_state_dict(module.state_dict() | {f"{stem}.weight": kernel})
    return wide
