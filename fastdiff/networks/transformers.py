"""diffusers' transformers of text and latents behind net(x, t, s, cond): PixArt, Stable Diffusion 3, Flux."""

from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from ..denoiser import Cond


class Transformer(nn.Module):
    """Latents (B, C, H, W), told cond["text"] (B, L, D) and what else the module takes of a prompt."""

    folder = "transformer"
    null_label = None

    def __init__(self, module: ModelMixin):
        super().__init__()
        self.module = module

    @classmethod
    def of(cls, module: ModelMixin, shape: tuple[int, ...], guided: bool) -> "Transformer":
        """A stored module for samples of a shape; ValueError where it is one of others."""
        net, patch = cls(module), module.config.patch_size * cls.packed
        channels, given = module.config.in_channels // cls.packed**2, module.config.out_channels or module.config.in_channels
        if (len(shape) != 3 or shape[0] != channels or any(n % patch for n in shape[1:]) or guided != net.guided
                or given // cls.packed**2 not in (channels, 2 * channels)):
            raise ValueError(f"{channels} channels in patches of {patch} x {patch}, guided {net.guided}: it makes no samples "
                             f"of shape {tuple(shape)}, guided {guided}")
        return net

    packed = 1          # pixels a side that are one input of the module

    @property
    def guided(self) -> bool:
        """Whether it is told a weight of guidance."""
        return False

    @property
    def learned_variance(self) -> bool:
        """Whether the second half of its channels is the variance of a reverse step."""
        return self.module.config.out_channels == 2 * self.module.config.in_channels


class PixArt(Transformer):
    """PixArtTransformer2DModel; cond["mask"] (B, L) says which of the text counts. side: pixels behind a latent one."""

    kind, side = "pixart", 8

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        size = torch.tensor(x.shape[2:]).to(x)
        added = {"resolution": self.side * size.expand(len(x), 2), "aspect_ratio": (size[:1] / size[1:]).expand(len(x), 1)}
        said: dict[str, Any] = added if self.module.use_additional_conditions else dict.fromkeys(added)
        return self.module(x, cond["text"].to(x), t, said, encoder_attention_mask=cond.get("mask"), return_dict=False)[0]


class SD3(Transformer):
    """SD3Transformer2DModel, its text of three encoders with cond["pooled"] of two; its time is 1000 t."""

    kind = "sd3"

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        return self.module(x, cond["text"].to(x), cond["pooled"].to(x), t, return_dict=False)[0]


class Flux(Transformer):
    """FluxTransformer2DModel on latents packed 2 x 2, with cond["pooled"]; its time is 1000 t.

    One with guidance_embeds is told cond["guidance"], 1 where nothing is said.
    """

    kind, packed = "flux", 2

    @property
    def guided(self) -> bool:
        return self.module.config.guidance_embeds

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        text, (height, width) = cond["text"].to(x), (n // 2 for n in x.shape[2:])
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(height), torch.arange(width)).to(x)      # (L, 3)
        weight = cond.get("guidance", torch.ones_like(t)).to(x) if self.guided else None
        packed = self.module(pack(x), text, cond["pooled"].to(x), t / 1000, places, text.new_zeros(text.shape[1], 3), weight,
                             return_dict=False)[0]
        return unpack(packed, height, width)


def pack(x: Tensor) -> Tensor:
    """Latents (B, C, H, W) as a row of 2 x 2 patches (B, H W / 4, 4 C)."""
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def unpack(x: Tensor, height: int, width: int) -> Tensor:
    """And back, of that many patches."""
    b, _, c = x.shape
    return x.view(b, height, width, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c // 4, 2 * height, 2 * width)
