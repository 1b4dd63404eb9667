"""diffusers' transformers of text and latents behind net(x, t, s, cond): PixArt, Stable Diffusion 3, Flux."""

from typing import Self

import torch
from diffusers import ModelMixin
from torch import Tensor

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import Backbone, grown


class Transformer(Backbone):
    """Latents (B, C, H, W), told cond["text"] (B, L, D) and what else the module takes of a prompt."""

    folder, stem = "transformer", "pos_embed.proj"
    null_label = None

    @classmethod
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        """A stored module for samples of a shape; ValueError where it is one of others."""
        if any(n % cls.patch_of(module) for n in shape[1:]):
            raise ValueError(
                f"patches of {cls.patch_of(module)}: it makes no samples of shape {tuple(shape)}"
            )
        return super().of(module, shape, guided)

    @classmethod
    def patch_of(cls, module: ModelMixin) -> int:
        """The side of what is one token of a module."""
        return module.config.patch_size

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        if not cond or "text" not in cond:
            raise FastdiffError("the network is conditioned on text: it needs prompts")
        return self.answer(self.inputs(x, t, s, cond), t, cond, cond["text"].to(x))


class PixArt(Transformer):
    """PixArtTransformer2DModel; cond["mask"] (B, L) says which of the text counts. pixels: behind one of a latent."""

    kind = "pixart"

    def __init__(
        self, module: ModelMixin, channels: int | None = None, guided: bool = False, pixels: int = 8
    ) -> None:
        super().__init__(module, channels, guided)
        self.pixels = pixels

    def around(self, module: ModelMixin, guided: bool) -> Self:
        """The same around another module."""
        return PixArt(module, self.channels, guided, self.pixels).train(self.training)

    def answer(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        """Of x with its planes."""
        size = torch.tensor(x.shape[2:]).to(x)
        sizes = {
            "resolution": self.pixels * size.expand(len(x), 2),
            "aspect_ratio": (size[:1] / size[1:]).expand(len(x), 1),
        }
        sizes = sizes if self.module.use_additional_conditions else dict.fromkeys(sizes)
        return self.module(x, text, t, sizes, encoder_attention_mask=cond.get("mask"), return_dict=False)[0]

    def spoken(self, x: str, t: str, told: dict[str, str]) -> str:
        """The module's call in a script without fastdiff."""
        sizes = (
            '"resolution": None, "aspect_ratio": None'
            if not self.module.use_additional_conditions
            else f'"resolution": {self.pixels} * torch.tensor(x.shape[2:]).float().expand(len(x), -1),\n'
            '         "aspect_ratio": torch.full((len(x), 1), x.shape[2] / x.shape[3])'
        )
        mask = ", encoder_attention_mask=mask" if "mask" in told else ""
        return f"sizes = {{{sizes}}}\noutput = transformer({x}, text, {t}, sizes{mask}).sample"


class SD3(Transformer):
    """SD3Transformer2DModel, its text of three encoders with cond["pooled"] of two; its time is 1000 t."""

    kind = "sd3"

    def answer(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        """Of x with its planes."""
        return self.module(x, text, cond["pooled"].to(x), t, return_dict=False)[0]

    def spoken(self, x: str, t: str, told: dict[str, str]) -> str:
        """The module's call in a script without fastdiff."""
        return f"output = transformer({x}, text, pooled, {t}).sample"


class Flux(Transformer):
    """FluxTransformer2DModel on latents packed 2 x 2, with cond["pooled"]; its time is 1000 t.

    One that is told its weight of guidance is one with guidance_embeds.
    """

    kind, stem, each = "flux", "x_embedder", 4

    @classmethod
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> Self:
        """A stored module for samples of a shape; ValueError where it is one of others."""
        if module.config.guidance_embeds != guided:
            raise ValueError(
                f"guidance_embeds {module.config.guidance_embeds}: weights of guidance belong to embeddings"
            )
        super().of(module, shape, False)
        return cls(module, shape[0])

    @classmethod
    def patch_of(cls, module: ModelMixin) -> int:
        """The side of what is one token of a module."""
        return 2

    def answer(self, x: Tensor, t: Tensor, cond: dict[str, Tensor], text: Tensor) -> Tensor:
        """Of x with its planes."""
        height, width = (n // 2 for n in x.shape[2:])
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width)).to(
            x
        )  # (L, 3)
        weight = (
            cond.get("guidance", torch.ones_like(t)).to(x) if self.module.config.guidance_embeds else None
        )
        tokens = self.module(
            pack(x),
            text,
            cond["pooled"].to(x),
            t / 1000,
            places,
            text.new_zeros(text.shape[1], 3),
            weight,
            return_dict=False,
        )[0]
        return unpack(tokens, height, width)

    def spoken(self, x: str, t: str, told: dict[str, str]) -> str:
        """The module's call in a script without fastdiff, on patches of 2 x 2."""
        weight = ", guidance * ones" if self.module.config.guidance_embeds else ""
        return "\n".join(
            [
                "height, width = (n // 2 for n in x.shape[2:])",
                "places = torch.cartesian_prod(*map(torch.arange, (1, height, width))).float()",
                f"patches = pixel_unshuffle({x}, 2).flatten(2).mT",
                "places_of_text = torch.zeros(text.shape[1], 3)",
                f"patches = transformer(patches, text, pooled, {t} / 1000, places, places_of_text{weight}).sample",
                "output = pixel_shuffle(patches.mT.unflatten(2, (height, width)), 2)",
            ]
        )

    def around(self, module: ModelMixin, guided: bool) -> Self:
        """The same around another module."""
        return Flux(module, self.channels).train(self.training)

    def with_guidance(self) -> Self:
        """A copy that is also told a weight of guidance; until it is trained it does what this one does."""
        return self.around(
            grown(self.module, "time_text_embed.guidance_embedder.linear_2", guidance_embeds=True), True
        )


def pack(x: Tensor) -> Tensor:
    """Latents (B, C, H, W) as a row of 2 x 2 patches (B, H W / 4, 4 C)."""
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def unpack(x: Tensor, height: int, width: int) -> Tensor:
    """And back, of that many patches."""
    b, _, c = x.shape
    return (
        x.view(b, height, width, c // 4, 2, 2)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(b, c // 4, 2 * height, 2 * width)
    )
