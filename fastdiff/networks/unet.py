"""diffusers' UNet2DModel behind net(x, t, s, cond)."""

from typing import Annotated, Any

import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding
from pydantic import Field
from torch import Tensor, nn

from ..denoiser import Cond, told
from ..errors import FastdiffError
from ..schedule import like

PLANES = 16         # input channels that say one number, the second time or the weight of guidance, to a network with labels

Width = Annotated[int, Field(ge=1, le=2**16)]


class UNet(nn.Module):
    """Images (B, C, H, W). With labels, the embedding's last row is the null class of guidance.

    A network of two times sees t - s by the module's class embedding (class_embed_type "timestep"); where labels have that
    place, by sines and cosines in input channels beyond the data's; after them by the same the weight of guidance, of a
    network that is told it (guided). channels: of the data, where they are not the module's.
    """

    folder = "unet"

    def __init__(self, module: UNet2DModel, channels: int | None = None, guided: bool = False):
        super().__init__()
        self.module, self.guided = module, guided
        self.channels = module.config.in_channels if channels is None else channels
        if self.embedded:
            module.class_embedding.register_forward_pre_hook(in_own_dtype)

    @classmethod
    def of(cls, module: UNet2DModel, shape: tuple[int, ...], guided: bool) -> "UNet":
        """A stored module for samples of a shape; ValueError where it is one of others."""
        (channels, *size), config, halvings = shape, module.config, len(module.config.block_out_channels) - 1
        if (len(size) != 2 or config.out_channels not in (channels, 2 * channels) or any(n % (1 << halvings) for n in size)
                or config.in_channels - channels - PLANES * guided not in (0, PLANES)
                or config.class_embed_type not in (None, "timestep")):
            raise ValueError(f"{config.in_channels} to {config.out_channels} channels, {halvings} halvings, class_embed_type"
                             f" {config.class_embed_type}: it makes no samples of shape {tuple(shape)}")
        return cls(module, channels, guided)

    @property
    def embedded(self) -> bool:
        """Whether the module's class embedding is one of the second time."""
        return self.module.config.class_embed_type == "timestep"

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None where the network takes no labels."""
        rows = self.module.config.num_class_embeds
        return rows - 1 if rows else None

    @property
    def learned_variance(self) -> bool:
        """Whether the second half of its channels is the variance of a reverse step."""
        return self.module.config.out_channels == 2 * self.channels

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        labels, gap = None, t - (t if s is None else s)
        if self.null_label is not None:
            labels = cond["label"] if cond else torch.full((len(x),), self.null_label, device=x.device)
        elif self.embedded:
            labels = gap
        said = [told(t, cond)] if self.guided else []
        if self.module.config.in_channels > self.channels + PLANES * self.guided:
            said = [gap, *said]
        for number in said:
            waves = get_timestep_embedding(number, PLANES, downscale_freq_shift=0).to(x)
            x = torch.cat([x, like(waves, x).expand(-1, -1, *x.shape[2:])], 1)
        return self.module(x, t, class_labels=labels, return_dict=False)[0]

    def with_second_time(self) -> "UNet":
        """A copy that also sees s; until it is trained it does what this one does."""
        old = self.module
        if self.null_label is not None or old.config.time_embedding_type != "positional":         # others know no t - s = 0
            return UNet(widened(old, self.channels), self.channels, self.guided).train(self.training)
        new = remade(old, class_embed_type="timestep")
        new.load_state_dict(new.state_dict() | old.state_dict() | {
            f"class_embedding.linear_2.{k}": torch.zeros_like(v)
            for k, v in new.class_embedding.linear_2.state_dict().items()})
        return UNet(new, self.channels).train(self.training)

    def with_guidance(self) -> "UNet":
        """A copy that is also told a weight of guidance; until it is trained it does what this one does."""
        return UNet(widened(self.module, self.module.config.in_channels), self.channels, True).train(self.training)


def remade(module: UNet2DModel, **change: Any) -> UNet2DModel:
    """A module with newly drawn weights, alike but for a change of its settings."""
    config = {k: v for k, v in module.config.items() if not k.startswith("_")}           # the others are diffusers' notes
    return UNet2DModel(**config | change).to(module.device).type(module.dtype).train(module.training)


def widened(module: UNet2DModel, place: int) -> UNet2DModel:
    """A copy with PLANES more input channels at a place, which do nothing yet."""
    wide, kernel = remade(module, in_channels=module.config.in_channels + PLANES), module.conv_in.weight.detach()
    empty = kernel.new_zeros(len(kernel), PLANES, *kernel.shape[2:])
    kernel = torch.cat([kernel[:, :place], empty, kernel[:, place:]], 1)
    wide.load_state_dict(module.state_dict() | {"conv_in.weight": kernel})
    return wide


def in_own_dtype(embedding: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """What diffusers does with the features of the first time, and not with those of the second."""
    return inputs[0].to(embedding.linear_1.weight.dtype)


def unet(shape: tuple[int, ...], classes: int = 0, *,
         channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)] = (64, 128, 128),
         layers: Annotated[int, Field(ge=1, le=100)] = 2, attention: tuple[int, ...] = (), middle_attention: bool = True,
         dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0, groups: Annotated[int, Field(ge=1)] = 8,
         learned_variance: bool = False) -> UNet:
    """A fresh UNet2DModel. channels: width of each resolution, halving; layers: residual blocks a resolution;
    attention: the image sizes at which it attends besides the middle; groups: of the group norms;
    learned_variance: twice the output channels, for the variance of a reverse step."""
    if len(shape) != 3:
        raise FastdiffError(f"unet expects images (C, H, W), the data have shape {shape}; use mlp")
    sizes = [shape[1] >> i for i in range(len(channels))]
    if shape[1] % (1 << (len(channels) - 1)) or shape[2] % (1 << (len(channels) - 1)):
        raise FastdiffError(
            f"channels: {len(channels)} resolutions cannot halve images of {shape[1]} x {shape[2]}")
    if bad := [c for c in channels if c % groups]:
        raise FastdiffError(f"channels: {bad[0]} is no multiple of the {groups} groups of the group norm")
    return UNet(UNet2DModel(
        sample_size=shape[1] if shape[1] == shape[2] else shape[1:], in_channels=shape[0],
        out_channels=shape[0] * (2 if learned_variance else 1),
        block_out_channels=channels, layers_per_block=layers, norm_num_groups=groups, dropout=dropout,
        attention_head_dim=min(32, *channels), add_attention=middle_attention,
        down_block_types=tuple("AttnDownBlock2D" if n in attention else "DownBlock2D" for n in sizes),
        up_block_types=tuple("AttnUpBlock2D" if n in attention else "UpBlock2D" for n in reversed(sizes)),
        num_class_embeds=classes + 1 if classes else None))
