"""diffusers' UNet2DConditionModel, the network of Stable Diffusion and its kin, behind net(x, t, s, cond)."""

from typing import Annotated, Any, Self

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from pydantic import Field
from torch import Tensor

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import PLANES, Backbone, grown
from .unet import UNet, Width, Widths, resolutions

WAVES = 256  # sines and cosines of the weight of guidance, as in LCM


class TextUNet(UNet):
    """Images or latents (B, C, H, W), with cond["text"] (B, L, D), cond["mask"] (B, L) where some of it does not count.

    SDXL also sees cond["pooled"] (B, D') and the sizes cond["time_ids"] (B, 6): height and width, top and
    left of the crop, height and width wanted; by default an uncut picture of the size of x, times `pixels`
    where x is a latent. A network that is told its weight of guidance sees it where LCM's do: through the
    module's time embedding (time_cond_proj_dim).
    """

    kind = "text_unet"

    def __init__(self, module: UNet2DConditionModel, channels: int | None = None, pixels: int = 8) -> None:
        super().__init__(module, channels)
        self.pixels = pixels

    @classmethod
    def of(cls, module: UNet2DConditionModel, shape: tuple[int, ...], guided: bool) -> Self:
        """A stored module for samples of a shape; ValueError where it is one of others."""
        config, known = (
            module.config,
            {
                "class_embed_type": (None, "timestep"),
                "addition_embed_type": (None, "text_time"),
                "encoder_hid_dim_type": (None, "text_proj"),
                "attention_type": ("default",),
            },
        )
        if strange := [name for name, values in known.items() if config[name] not in values]:
            raise ValueError(f"{strange[0]} {config[strange[0]]}: expected one of {known[strange[0]]}")
        if bool(config.time_cond_proj_dim) != guided:
            raise ValueError(
                f"time_cond_proj_dim {config.time_cond_proj_dim}: weights of guidance belong to a number there"
            )
        Backbone.of(module, shape, False)
        return cls(module, shape[0])

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        if not cond or "text" not in cond:
            raise FastdiffError("the network is conditioned on text: it needs prompts")
        return self.module(
            self.inputs(x, t, s, cond),
            t,
            cond["text"].to(x),
            class_labels=self.classes(x, t, s, cond),
            timestep_cond=self.waves(x, cond),
            encoder_attention_mask=cond.get("mask"),
            added_cond_kwargs=self.added(x, cond),
            return_dict=False,
        )[0]

    def waves(self, x: Tensor, cond: dict[str, Tensor]) -> Tensor | None:
        """Sines and cosines of 1000 (weight of guidance - 1), as in LCM; None for a network that is not told it."""
        size = self.module.config.time_cond_proj_dim
        if not size:
            return None
        weight = (
            cond["guidance"].to(x.device).float()
            if "guidance" in cond
            else torch.ones(len(x), device=x.device)
        )
        return get_timestep_embedding(1000 * (weight - 1), size).to(x)

    def added(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Any]:
        """What SDXL sees besides: the pooled text and sizes in pixels."""
        if self.module.config.addition_embed_type is None:
            return {}
        size = [self.pixels * n for n in x.shape[2:]]
        sizes = (
            cond["time_ids"]
            if "time_ids" in cond
            else torch.tensor([[*size, 0, 0, *size]]).expand(len(x), -1)
        )
        return {"text_embeds": cond["pooled"].to(x), "time_ids": sizes.to(x.device)}

    def spoken(self, x: str, t: str, told: dict[str, str]) -> str:
        """The module's call in a script without fastdiff."""
        more, config = (
            {"class_labels": told.get("label"), "encoder_attention_mask": told.get("mask")},
            self.module.config,
        )
        if config.time_cond_proj_dim:
            more["timestep_cond"] = (
                f"get_timestep_embedding(1000 * (guidance * ones - 1), {config.time_cond_proj_dim})"
            )
        if config.addition_embed_type:
            sizes = f"{self.pixels} * torch.tensor([[*x.shape[2:], 0, 0, *x.shape[2:]]] * len(x))"
            more["added_cond_kwargs"] = f'{{"text_embeds": pooled, "time_ids": {sizes}}}'
        options = "".join(f",\n              {name}={words}" for name, words in more.items() if words)
        return f"output = unet({x}, {t}, text{options}).sample"

    def around(self, module: UNet2DConditionModel, guided: bool) -> Self:
        """The same around another module."""
        return TextUNet(module, self.channels, self.pixels).train(self.training)

    def with_guidance(self) -> Self:
        """A copy that is also told a weight of guidance; until it is trained it does what this one does."""
        return self.around(grown(self.module, "time_embedding.cond_proj", time_cond_proj_dim=WAVES), True)


def text_unet(
    shape: tuple[int, ...],
    classes: int = 0,
    *,
    text: Width = 768,
    channels: Widths = (64, 128, 128),
    layers: Annotated[int, Field(ge=1, le=100)] = 2,
    attention: tuple[int, ...] = (),
    heads: Annotated[int, Field(ge=1)] = 8,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    groups: Annotated[int, Field(ge=1)] = 8,
    image: Annotated[int, Field(ge=0, lt=PLANES)] = 0,
    learned_variance: bool = False,
) -> TextUNet:
    """A fresh UNet2DConditionModel. text: width of the text's embeddings; attention: the image sizes at which it attends to
    them and to itself besides the middle, with so many heads; the others as in unet."""
    sizes = resolutions("text_unet", shape, channels, groups)
    if bad := [
        c for c, n in zip(channels, sizes, strict=True) if (n in attention or n == sizes[-1]) and c % heads
    ]:
        raise FastdiffError(f"heads: {bad[0]} channels do not part into {heads}", key="heads")
    return TextUNet(
        UNet2DConditionModel(
            sample_size=shape[1] if shape[1] == shape[2] else shape[1:],
            in_channels=shape[0] + image,
            out_channels=shape[0] * (2 if learned_variance else 1),
            cross_attention_dim=text,
            block_out_channels=channels,
            layers_per_block=layers,
            norm_num_groups=groups,
            dropout=dropout,
            attention_head_dim=heads,  # what diffusers calls so here is their number
            down_block_types=tuple(
                "CrossAttnDownBlock2D" if n in attention else "DownBlock2D" for n in sizes
            ),
            up_block_types=tuple(
                "CrossAttnUpBlock2D" if n in attention else "UpBlock2D" for n in reversed(sizes)
            ),
            num_class_embeds=classes + 1 if classes else None,
        ),
        shape[0],
    )
