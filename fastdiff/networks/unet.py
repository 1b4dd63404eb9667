"""diffusers' UNet2DModel behind net(x, t, s, cond)."""

from typing import Annotated, ClassVar, Literal, Self

from diffusers import UNet2DModel
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.condition import NO_LABEL, Cond
from ..core.errors import FastdiffError
from .backbone import EMBEDDING_CHANNELS, Backbone, with_extra_layer

Width = Annotated[int, Field(ge=1, le=2**16)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]


class UNet(Backbone):
    """A UNet2DModel for images (B, C, H, W).

    With labels, the last row of the embedding is the null class of guidance, unless `null_class` is false in
    the module's configuration: all rows are classes then, and the label NO_LABEL leaves the embedding out, as
    EDM's networks do without a class. A network that takes two times
    gets t - s through the module's class embedding (class_embed_type "timestep"), or through input channels
    if that embedding is used for labels.
    """

    kind: ClassVar[str | None] = "unet"
    folder: ClassVar[str | None] = "unet"

    def __init__(self, module: UNet2DModel, channels: int | None = None, guided: bool = False) -> None:
        super().__init__(module, channels, guided)
        if self.num_classes and self.null_label is None:
            module.class_embedding = OptionalEmbedding.of(module.class_embedding)
        if self.embedded:
            module.class_embedding.register_forward_pre_hook(in_own_dtype)

    @classmethod
    @override
    def of(cls, module: UNet2DModel, shape: tuple[int, ...], guided: bool) -> Self:
        config = module.config
        halvings = len(config.block_out_channels) - 1
        if config.time_embedding_type not in ("positional", "fourier"):
            raise ValueError(
                f"time_embedding_type = {config.time_embedding_type}: expected positional or fourier"
            )
        if any(n % (1 << halvings) for n in shape[1:]) or config.class_embed_type not in (None, "timestep"):
            raise ValueError(
                f"{halvings} halvings, class_embed_type {config.class_embed_type}: "
                f"it cannot produce samples of shape {tuple(shape)}"
            )
        return super().of(module, shape, guided)

    @property
    def embedded(self) -> bool:
        """True if the module's class embedding takes t - s."""
        return self.module.config.class_embed_type == "timestep"

    @property
    @override
    def num_classes(self) -> int | None:
        rows = self.module.config.num_class_embeds
        return rows and rows - (self.null_label is not None)

    @property
    @override
    def null_label(self) -> int | None:
        rows = self.module.config.num_class_embeds
        return rows - 1 if rows and self.module.config.get("null_class", True) else None

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        return self.module(
            self.inputs(x, t, s, cond), t, class_labels=self.class_inputs(x, t, s, cond), return_dict=False
        )[0]

    def class_inputs(self, x: Tensor, t: Tensor, s: Tensor | None, cond: Cond) -> Tensor | None:
        """Return the input of the module's class embedding: t - s if `embedded`, else the classes."""
        return t - (t if s is None else s) if self.embedded else self.labels(x, cond)

    @override
    def with_second_time(self) -> Self:
        module = self.module
        if (
            self.num_classes or module.config.time_embedding_type != "positional"
        ):  # others cannot represent t - s = 0
            return super().with_second_time()
        widened = with_extra_layer(module, "class_embedding.linear_2", class_embed_type="timestep")
        return self.rewrap(widened, self.guided)


class OptionalEmbedding(nn.Embedding):
    """A class embedding that is zero for the label NO_LABEL."""

    @classmethod
    def of(cls, embedding: nn.Embedding) -> Self:
        """Return the embedding with the same weights."""
        optional = cls(*embedding.weight.shape, device="meta")
        optional.weight = embedding.weight
        return optional

    @override
    def forward(self, labels: Tensor) -> Tensor:
        return super().forward(labels.clamp(min=0)) * (labels != NO_LABEL).unsqueeze(-1)


def in_own_dtype(embedding: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Convert features of t - s to the dtype of the embedding; diffusers does so only with those of t."""
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
    image: Annotated[int, Field(ge=0, lt=EMBEDDING_CHANNELS)] = 0,
    learned_variance: bool = False,
) -> UNet:
    """Return an untrained UNet (Ronneberger et al. 2015; Ho et al. 2020), as diffusers' UNet2DModel.

    Args:
        shape: shape of one image or latent, (C, H, W).
        classes: number of classes; 0 for a network without labels. A null class is added.
        channels: widths of the resolutions, the first at the size of the images and each half as large as the
            one before; multiples of `groups`.
        layers: number of residual blocks per resolution.
        attention: heights in pixels at which there is self-attention, in addition to the middle block.
        middle_attention: whether the middle block has self-attention.
        head: channels of an attention head; None for 32, or the smallest of `channels` if that is less.
        dropout: dropout probability, in [0, 1).
        groups: number of groups of the group norms.
        scale_shift: whether the time embedding also scales the outputs of the norms (as in ADM), and not only
            shifts them.
        resampling: "conv" for down- and upsampling by convolutions, "resnet" by residual blocks.
        embedding: width of the time embedding; None for four times the first of `channels`.
        image: number of channels of a condition image (super-resolution, colourisation), 0 for none, at most
            15.
        learned_variance: whether the network also predicts the variance of a reverse step, in as many extra
            output channels.

    Returns:
        The network, with weights drawn from torch's global generator.

    Raises:
        FastdiffError: for settings that do not fit the images or each other.

    Example:
        >>> net = unet((3, 32, 32), classes=10, channels=(32, 64), attention=(16,))
        >>> net(torch.randn(2, 3, 32, 32), torch.full((2,), 500.0)).shape
        torch.Size([2, 3, 32, 32])
    """
    sizes = resolutions("unet", shape, channels, groups)
    attending = [c for c, n in zip(channels, sizes, strict=True) if n in attention]
    if middle_attention:
        attending.append(channels[-1])
    if head and (bad := [c for c in attending if c % head]):
        raise FastdiffError(
            f"head = {head}: expected a divisor of {bad[0]}, the channels of an attention layer", key="head"
        )
    plain = resampling == "conv"
    down = "DownBlock2D" if plain else "ResnetDownsampleBlock2D"
    up = "UpBlock2D" if plain else "ResnetUpsampleBlock2D"
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
    """Return the heights of images at each resolution.

    Args:
        name: name of the network, for errors.
        shape: shape of one image.
        channels: width of each resolution.
        groups: number of groups of the group norms.

    Raises:
        FastdiffError: for samples that are not images, sides that cannot be halved for every resolution, and
            widths that are not multiples of `groups`.
    """
    if len(shape) != 3:
        raise FastdiffError(f"{name}: expected images (C, H, W), but the data have shape {shape}; use mlp")
    if any(n % (1 << (len(channels) - 1)) for n in shape[1:]):
        raise FastdiffError(
            f"channels: {len(channels)} resolutions need sides divisible by {1 << (len(channels) - 1)}, "
            f"the images are {shape[1]} x {shape[2]}",
            key="channels",
        )
    if bad := [c for c in channels if c % groups]:
        raise FastdiffError(
            f"channels: {bad[0]} is not a multiple of the {groups} groups of the group norm", key="channels"
        )
    return [shape[1] >> i for i in range(len(channels))]
