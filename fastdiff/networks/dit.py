"""diffusers' DiTTransformer2DModel, the transformer of Peebles & Xie 2023, behind net(x, t, s, cond)."""

from typing import Annotated, ClassVar, Self

import torch
from diffusers import DiTTransformer2DModel
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import EMBEDDING_CHANNELS, Backbone


class DiT(Backbone):
    """A DiTTransformer2DModel for square images or latents (B, C, N, N).

    The class after the last is the null class of guidance, the only class of a network without labels. t - s
    and the guidance weight have input channels. The module's own label dropout, which drops other labels in
    every block, is turned off, since training methods drop labels.
    """

    kind: ClassVar[str | None] = "dit"
    folder: ClassVar[str | None] = "transformer"
    stem: ClassVar[str] = "pos_embed.proj"

    def __init__(
        self, module: DiTTransformer2DModel, channels: int | None = None, guided: bool = False
    ) -> None:
        super().__init__(module, channels, guided)
        for block in module.transformer_blocks:
            block.norm1.emb.class_embedder.dropout_prob = 0.0

    @classmethod
    @override
    def of(cls, module: DiTTransformer2DModel, shape: tuple[int, ...], guided: bool) -> Self:
        patch = module.config.patch_size
        if len(set(shape[1:])) > 1 or any(n % patch for n in shape[1:]):
            raise ValueError(
                f"patches of {patch} x {patch}: it cannot produce samples of shape {tuple(shape)}"
            )
        return super().of(module, shape, guided)

    @property
    @override
    def null_label(self) -> int | None:
        return self.module.config.num_embeds_ada_norm or None

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        labels = self.labels(x, cond)
        if labels is None:
            labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.module(self.inputs(x, t, s, cond), t, class_labels=labels, return_dict=False)[0]

    @override
    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        return super().to_source(x, t, {"label": "torch.zeros(len(x), dtype=torch.long)"} | conditions)


def dit(
    shape: tuple[int, ...],
    classes: int = 0,
    *,
    depth: Annotated[int, Field(ge=1, le=1000)] = 12,
    width: Annotated[int, Field(ge=4, le=2**16)] = 384,
    heads: Annotated[int, Field(ge=1)] = 6,
    patch: Annotated[int, Field(ge=1)] = 2,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    image: Annotated[int, Field(ge=0, lt=EMBEDDING_CHANNELS)] = 0,
    learned_variance: bool = False,
) -> DiT:
    """Return an untrained DiT, the transformer of Peebles & Xie 2023, as diffusers' DiTTransformer2DModel.

    Args:
        shape: shape of one image or latent, (C, N, N).
        classes: number of classes; 0 for a network without labels. A null class is added.
        depth: number of blocks, 1 to 1000.
        width: number of channels of a token; a multiple of 4 and of `heads`.
        heads: number of attention heads.
        patch: side in pixels of the square patch that becomes one token; must divide N.
        dropout: dropout probability, in [0, 1).
        image: number of channels of a condition image (super-resolution, colourisation), 0 for none, at most
            15.
        learned_variance: whether the network also predicts the variance of a reverse step, in as many extra
            output channels.

    Returns:
        The network, with weights drawn from torch's global generator.

    Raises:
        FastdiffError: for images that are not square, and settings that do not fit them or each other.

    Example:
        >>> net = dit((3, 32, 32), classes=10, depth=6, width=192, heads=3)
        >>> net(torch.randn(2, 3, 32, 32), torch.full((2,), 500.0)).shape
        torch.Size([2, 3, 32, 32])
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise FastdiffError(
            f"dit: expected square images (C, N, N), but the data have shape {shape}; use unet or mlp"
        )
    if shape[1] % patch:
        raise FastdiffError(
            f"patch: {patch} x {patch} does not divide images of {shape[1]} x {shape[2]}", key="patch"
        )
    if width % heads or width % 4:
        raise FastdiffError(f"width: {width} is not a multiple of 4 and of the {heads} heads", key="width")
    module = DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=shape[0] + image,
        out_channels=shape[0] * (2 if learned_variance else 1),
        num_layers=depth,
        dropout=dropout,
        sample_size=shape[1],
        patch_size=patch,
        num_embeds_ada_norm=classes,
    )
    draw(module)
    return DiT(module, shape[0])


def draw(module: DiTTransformer2DModel) -> None:
    """Initialize weights as in the paper: small embeddings, zero output and gates of blocks."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(module.pos_embed.proj.weight.flatten(1))
    nn.init.zeros_(module.pos_embed.proj.bias)
    for norm in (block.norm1 for block in module.transformer_blocks):
        for small in (
            norm.emb.timestep_embedder.linear_1,
            norm.emb.timestep_embedder.linear_2,
            norm.emb.class_embedder.embedding_table,
        ):
            nn.init.normal_(small.weight, std=0.02)
        nn.init.zeros_(norm.linear.weight)
    for last in (module.proj_out_1, module.proj_out_2):
        nn.init.zeros_(last.weight)
