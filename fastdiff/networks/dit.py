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

    The class after the last is the null class of guidance; a network without labels has no class but that
    one. t - s and the guidance weight have input channels. The module's own dropping of labels, which drops
    different ones in every block, is turned off: methods drop them.
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
            raise ValueError(f"patches of {patch} x {patch}: it makes no samples of shape {tuple(shape)}")
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
    """A fresh DiTTransformer2DModel (Peebles & Xie 2023).

    Args:
        shape: of one image, (C, N, N).
        classes: number of classes, 0 for none.
        depth: number of blocks.
        width: channels of a token.
        heads: attention heads.
        patch: side of the squares of pixels that are one token.
        dropout: probability of dropout.
        image: channels of an image that x is conditioned on.
        learned_variance: twice the output channels, for the variance of a reverse step.

    Raises:
        FastdiffError: for images that are not square, and settings that do not fit them or each other.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise FastdiffError(
            f"dit expects square images (C, N, N), the data have shape {shape}; use unet or mlp"
        )
    if shape[1] % patch:
        raise FastdiffError(
            f"patch: {patch} x {patch} does not divide images of {shape[1]} x {shape[2]}", key="patch"
        )
    if width % heads or width % 4:
        raise FastdiffError(f"width: {width} is no multiple of 4 and of the {heads} heads", key="width")
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
    """Draw weights as in the paper: small embeddings, and zero for the output and the gate of every block."""
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
