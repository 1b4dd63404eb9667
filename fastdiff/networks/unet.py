"""diffusers' UNet2DModel behind net(x, t, s, cond)."""

from typing import Annotated, Literal, Self

from diffusers import UNet2DModel
from pydantic import Field
from torch import Tensor, nn

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import PLANES, Backbone, grown

Width = Annotated[int, Field(ge=1, le=2**16)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]


class UNet(Backbone):
    """Images (B, C, H, W). With labels, the embedding's last row is the null class of guidance.

    A network of two times sees t - s by the module's class embedding (class_embed_type "timestep"); where
    labels have that place, by planes.
    """

    kind = folder = "unet"

    def __init__(self, module: UNet2DModel, channels: int | None = None, guided: bool = False) -> None:
        super().__init__(module, channels, guided)
        if self.embedded:
            module.class_embedding.register_forward_pre_hook(in_own_dtype)

    @classmethod
    def of(cls, module: UNet2DModel, shape: tuple[int, ...], guided: bool) -> Self:
        """A stored module for samples of a shape; ValueError where it is one of others."""
        config, halvings = module.config, len(module.config.block_out_channels) - 1
        if any(n % (1 << halvings) for n in shape[1:]) or config.class_embed_type not in (None, "timestep"):
            raise ValueError(
                f"{halvings} halvings, class_embed_type {config.class_embed_type}: "
                f"it makes no samples of shape {tuple(shape)}"
            )
        return super().of(module, shape, guided)

    @property
    def embedded(self) -> bool:
        """Whether the module's class embedding is one of the second time."""
        return self.module.config.class_embed_type == "timestep"

    @property
    def num_classes(self) -> int | None:
        """How many classes it takes; None where it takes no labels."""
        rows = self.module.config.num_class_embeds
        return rows and rows - (self.null_label is not None)

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None where the network takes no labels, or knows no such class."""
        rows = self.module.config.num_class_embeds
        return rows - 1 if rows and self.module.config.get("null_class", True) else None

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        return self.module(
            self.inputs(x, t, s, cond), t, class_labels=self.class_inputs(x, t, s, cond), return_dict=False
        )[0]

    def class_inputs(self, x: Tensor, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor | None:
        """What the module takes for classes: t - s where that has their place."""
        return t - (t if s is None else s) if self.embedded else self.labels(x, cond)

    def with_second_time(self) -> Self:
        """A copy that also sees s; until it is trained it does what this one does."""
        module = self.module
        if self.num_classes or module.config.time_embedding_type != "positional":  # others know no t - s = 0
            return super().with_second_time()
        return self.around(
            grown(module, "class_embedding.linear_2", class_embed_type="timestep"), self.guided
        )


def in_own_dtype(embedding: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """What diffusers does with the features of the first time, and not with those of the second."""
    return inputs[0].to(embedding.linear_1.weight.dtype)


def unet(
    shape: tuple[int, ...],
    classes: int = 0,
    *,
    channels: Widths = (64, 128, 128),
    layers: Annotated[int, Field(ge=1, le=100)] = 2,
    attention: tuple[int, ...] = (),
    middle_attention: bool = True,
    head: Annotated[int, Field(ge=1)] | None = None,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    groups: Annotated[int, Field(ge=1)] = 8,
    scale_shift: bool = False,
    resampling: Literal["conv", "resnet"] = "conv",
    embedding: Width | None = None,
    image: Annotated[int, Field(ge=0, lt=PLANES)] = 0,
    learned_variance: bool = False,
) -> UNet:
    """A fresh UNet2DModel. channels: width of each resolution, halving; layers: residual blocks a resolution;
    attention: the image sizes at which it attends besides the middle; head: width of a head, 32 or the least of channels;
    groups: of the group norms; scale_shift: the time scales their outputs too; resampling: by convolutions or by residual
    blocks; embedding: width of the time's, four times the first of channels; image: channels of an image that x is
    conditioned on; learned_variance: twice the output channels, for the variance of a reverse step."""
    sizes = resolutions("unet", shape, channels, groups)
    attending = [c for c, n in zip(channels, sizes, strict=True) if n in attention] + [
        channels[-1]
    ] * middle_attention
    if head and (bad := [c for c in attending if c % head]):
        raise FastdiffError(f"head: {bad[0]} channels are no heads of {head}", key="head")
    down, up = (
        ("DownBlock2D", "UpBlock2D")
        if resampling == "conv"
        else ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    )
    return UNet(
        UNet2DModel(
            sample_size=shape[1] if shape[1] == shape[2] else shape[1:],
            in_channels=shape[0] + image,
            out_channels=shape[0] * (2 if learned_variance else 1),
            block_out_channels=channels,
            layers_per_block=layers,
            norm_num_groups=groups,
            dropout=dropout,
            attention_head_dim=head or min(32, *channels),
            add_attention=middle_attention,
            attn_norm_num_groups=groups,
            resnet_time_scale_shift="scale_shift" if scale_shift else "default",
            time_embedding_dim=embedding,
            downsample_type=resampling,
            upsample_type=resampling,
            down_block_types=tuple("AttnDownBlock2D" if n in attention else down for n in sizes),
            up_block_types=tuple("AttnUpBlock2D" if n in attention else up for n in reversed(sizes)),
            num_class_embeds=classes + 1 if classes else None,
        ),
        shape[0],
    )


def resolutions(name: str, shape: tuple[int, ...], channels: tuple[int, ...], groups: int) -> list[int]:
    """The heights of images at the widths `channels`; FastdiffError where they cannot be. name: of the network, for it."""
    if len(shape) != 3:
        raise FastdiffError(f"{name} expects images (C, H, W), the data have shape {shape}; use mlp")
    if any(n % (1 << (len(channels) - 1)) for n in shape[1:]):
        raise FastdiffError(
            f"channels: {len(channels)} resolutions cannot halve images of {shape[1]} x {shape[2]}",
            key="channels",
        )
    if bad := [c for c in channels if c % groups]:
        raise FastdiffError(
            f"channels: {bad[0]} is no multiple of the {groups} groups of the group norm", key="channels"
        )
    return [shape[1] >> i for i in range(len(channels))]
