"""diffusers' text-to-image transformers behind net(x, t, s, cond): PixArt, Stable Diffusion 3 and Flux."""

from typing import ClassVar, Self

import torch
from diffusers import ModelMixin
from torch import Tensor
from typing_extensions import override

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import Backbone, with_extra_layer


class Transformer(Backbone):
    """The base class of transformers for latents (B, C, H, W) with text, cond["text"] (B, L, D)."""

    folder: ClassVar[str | None] = "transformer"
    stem: ClassVar[str] = "pos_embed.proj"

    @classmethod
    @override
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        if any(n % cls.patch_of(module) for n in shape[1:]):
            raise ValueError(
                f"patches of {cls.patch_of(module)}: it cannot produce samples of shape {tuple(shape)}"
            )
        return super().of(module, shape, guided)

    @classmethod
    def patch_of(cls, module: ModelMixin) -> int:
        """Return the side of the square patches of a latent that become one token."""
        return module.config.patch_size

    def call_module(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        """Return the module's output for x with its extra channels, the time, the conditions and the text."""
        raise NotImplementedError

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        if not cond or "text" not in cond:
            raise FastdiffError("the network is conditioned on text: it needs prompts")
        return self.call_module(self.inputs(x, t, s, cond), t, cond, cond["text"].to(x))


class PixArt(Transformer):
    """A PixArtTransformer2DModel; it also takes cond["mask"] (B, L), 0 where text is ignored.

    Args:
        module: module of diffusers.
        channels: channels of the data; None for those of the module.
        guided: whether the guidance weight has input channels.
        pixels: side in pixels of one latent position.
    """

    kind: ClassVar[str | None] = "pixart"

    def __init__(
        self, module: ModelMixin, channels: int | None = None, guided: bool = False, pixels: int = 8
    ) -> None:
        super().__init__(module, channels, guided)
        self.pixels = pixels

    @override
    def rewrap(self, module: ModelMixin, guided: bool) -> Self:
        return PixArt(module, self.channels, guided, self.pixels).train(self.training)

    @override
    def call_module(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.module.use_additional_conditions:
            size = torch.tensor(x.shape[2:]).to(x)
            sizes["resolution"] = self.pixels * size.expand(len(x), 2)
            sizes["aspect_ratio"] = (size[:1] / size[1:]).expand(len(x), 1)
        return self.module(x, text, t, sizes, encoder_attention_mask=cond.get("mask"), return_dict=False)[0]

    @override
    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        sizes = '"resolution": None, "aspect_ratio": None'
        if self.module.use_additional_conditions:
            sizes = (
                f'"resolution": {self.pixels} * torch.tensor(x.shape[2:]).float().expand(len(x), -1),\n'
                '         "aspect_ratio": torch.full((len(x), 1), x.shape[2] / x.shape[3])'
            )
        mask = ", encoder_attention_mask=mask" if "mask" in conditions else ""
        return f"sizes = {{{sizes}}}\noutput = transformer({x}, text, {t}, sizes{mask}).sample"


class SD3(Transformer):
    """An SD3Transformer2DModel; it also takes cond["pooled"] (B, D'), and 1000 t as its time."""

    kind: ClassVar[str | None] = "sd3"

    @override
    def call_module(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        return self.module(x, text, cond["pooled"].to(x), t, return_dict=False)[0]

    @override
    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        return f"output = transformer({x}, text, pooled, {t}).sample"


class Flux(Transformer):
    """A FluxTransformer2DModel on latents packed 2 x 2; it also takes cond["pooled"] (B, D'), and 1000 t.

    It takes a guidance weight if the module has guidance_embeds.
    """

    kind: ClassVar[str | None] = "flux"
    stem: ClassVar[str] = "x_embedder"
    each: ClassVar[int] = 4

    @classmethod
    @override
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        if module.config.guidance_embeds != guided:
            raise ValueError(
                f"guidance_embeds {module.config.guidance_embeds}: expected {guided}, as the guidance weight"
            )
        super().of(module, shape, False)
        return cls(module, shape[0])

    @classmethod
    @override
    def patch_of(cls, module: ModelMixin) -> int:
        return 2

    @override
    def call_module(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        height, width = (n // 2 for n in x.shape[2:])
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width))  # (L, 3)
        weight = None
        if self.module.config.guidance_embeds:
            weight = cond.get("guidance", torch.ones_like(t)).to(x)
        tokens = self.module(
            pack(x),
            text,
            cond["pooled"].to(x),
            t / 1000,
            places.to(x),
            text.new_zeros(text.shape[1], 3),
            weight,
            return_dict=False,
        )[0]
        return unpack(tokens, height, width)

    @override
    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        weight = ", guidance * ones" if self.module.config.guidance_embeds else ""
        return "\n".join(
            [
                "height, width = (n // 2 for n in x.shape[2:])",
                "places = torch.cartesian_prod(*map(torch.arange, (1, height, width))).float()",
                f"patches = pixel_unshuffle({x}, 2).flatten(2).mT",
                "places_of_text = torch.zeros(text.shape[1], 3)",
                f"patches = transformer(patches, text, pooled, {t} / 1000, "
                f"places, places_of_text{weight}).sample",
                "output = pixel_shuffle(patches.mT.unflatten(2, (height, width)), 2)",
            ]
        )

    @override
    def rewrap(self, module: ModelMixin, guided: bool) -> Self:
        return Flux(module, self.channels).train(self.training)

    @override
    def with_guidance(self) -> Self:
        layer = "time_text_embed.guidance_embedder.linear_2"
        return self.rewrap(with_extra_layer(self.module, layer, guidance_embeds=True), True)


def pack(x: Tensor) -> Tensor:
    """Return latents (B, C, H, W) as a sequence of 2 x 2 patches (B, H W / 4, 4 C)."""
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def unpack(x: Tensor, height: int, width: int) -> Tensor:
    """Return a sequence of 2 x 2 patches (B, height width, 4 C) as latents (B, C, 2 height, 2 width)."""
    b, _, c = x.shape
    return (
        x.view(b, height, width, c // 4, 2, 2)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(b, c // 4, 2 * height, 2 * width)
    )
