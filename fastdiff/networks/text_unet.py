"""diffusers' UNet2DConditionModel, the network of Stable Diffusion, behind net(x, t, s, cond)."""

from typing import Annotated, Any, ClassVar, Self

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from .backbone import EMBEDDING_CHANNELS, Backbone, with_extra_layer
from .unet import UNet, Width, Widths, resolutions

GUIDANCE_FEATURES = 256  # number of sines and cosines of the guidance weight, as in LCM


class TextUNet(UNet):
    """A UNet2DConditionModel for images or latents (B, C, H, W).

    It takes cond["text"] (B, L, D), and optionally cond["mask"] (B, L), 0 where text is ignored. SDXL also
    takes cond["pooled"] (B, D') and the sizes cond["time_ids"] (B, 6): height and width, top and left of the
    crop, target height and width; by default an uncropped image of `pixels` times the size of x. A guidance
    weight enters as in LCM, through the module's time embedding (time_cond_proj_dim).

    Args:
        module: module of diffusers.
        channels: channels of the data; None for those of the module.
        pixels: side in pixels of one latent position.
    """

    kind: ClassVar[str | None] = "text_unet"

    def __init__(self, module: UNet2DConditionModel, channels: int | None = None, pixels: int = 8) -> None:
        super().__init__(module, channels)
        self.pixels = pixels

    @classmethod
    @override
    def of(cls, module: UNet2DConditionModel, shape: tuple[int, ...], guided: bool) -> Self:
        config = module.config
        known = {
            "class_embed_type": (None, "timestep"),
            "addition_embed_type": (None, "text_time"),
            "encoder_hid_dim_type": (None, "text_proj"),
            "attention_type": ("default",),
        }
        if strange := [name for name, values in known.items() if config[name] not in values]:
            raise ValueError(f"{strange[0]} {config[strange[0]]}: expected one of {known[strange[0]]}")
        if bool(config.time_cond_proj_dim) != guided:
            raise ValueError(
                f"time_cond_proj_dim {config.time_cond_proj_dim}: expected a number exactly if "
                "the network takes a guidance weight"
            )
        Backbone.of(module, shape, False)
        return cls(module, shape[0])

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        if not cond or "text" not in cond:
            raise FastdiffError("the network is conditioned on text: it needs prompts")
        return self.module(
            self.inputs(x, t, s, cond),
            t,
            cond["text"].to(x),
            class_labels=self.class_inputs(x, t, s, cond),
            timestep_cond=self.guidance_features(x, cond),
            encoder_attention_mask=cond.get("mask"),
            added_cond_kwargs=self.sdxl_conditions(x, cond),
            return_dict=False,
        )[0]

    def guidance_features(self, x: Tensor, cond: dict[str, Tensor]) -> Tensor | None:
        """Return sines and cosines of 1000 (guidance weight - 1), as in LCM; None for other networks."""
        size = self.module.config.time_cond_proj_dim
        if not size:
            return None
        if "guidance" in cond:
            weight = cond["guidance"].to(x.device).float()
        else:
            weight = torch.ones(len(x), device=x.device)
        return get_timestep_embedding(1000 * (weight - 1), size).to(x)

    def sdxl_conditions(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Any]:
        """Return the pooled text and the sizes in pixels that SDXL takes; empty for other networks."""
        if self.module.config.addition_embed_type is None:
            return {}
        if "time_ids" in cond:
            sizes = cond["time_ids"]
        else:
            size = [self.pixels * n for n in x.shape[2:]]
            sizes = torch.tensor([[*size, 0, 0, *size]]).expand(len(x), -1)
        return {"text_embeds": cond["pooled"].to(x), "time_ids": sizes.to(x.device)}

    @override
    def to_source(self, x: str, t: str, conditions: dict[str, str]) -> str:
        config = self.module.config
        more = {"class_labels": conditions.get("label"), "encoder_attention_mask": conditions.get("mask")}
        if config.time_cond_proj_dim:
            more["timestep_cond"] = (
                f"get_timestep_embedding(1000 * (guidance * ones - 1), {config.time_cond_proj_dim})"
            )
        if config.addition_embed_type:
            sizes = f"{self.pixels} * torch.tensor([[*x.shape[2:], 0, 0, *x.shape[2:]]] * len(x))"
            more["added_cond_kwargs"] = f'{{"text_embeds": pooled, "time_ids": {sizes}}}'
        options = "".join(f",\n              {name}={code}" for name, code in more.items() if code)
        return f"output = unet({x}, {t}, text{options}).sample"

    @override
    def rewrap(self, module: UNet2DConditionModel, guided: bool) -> Self:
        return TextUNet(module, self.channels, self.pixels).train(self.training)

    @override
    def with_guidance(self) -> Self:
        layer = "time_embedding.cond_proj"
        return self.rewrap(with_extra_layer(self.module, layer, time_cond_proj_dim=GUIDANCE_FEATURES), True)


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
    image: Annotated[int, Field(ge=0, lt=EMBEDDING_CHANNELS)] = 0,
    learned_variance: bool = False,
) -> TextUNet:
    """Return an untrained text-conditioned UNet (Rombach et al. 2022), as diffusers' UNet2DConditionModel.

    Args:
        shape: shape of one image or latent, (C, H, W).
        classes: number of classes; 0 for a network without labels. A null class is added.
        text: width D of the text embeddings cond["text"] (B, L, D).
        channels: widths of the resolutions, the first at the size of the images and each half as large as the
            one before; multiples of `groups`.
        layers: number of residual blocks per resolution.
        attention: heights in pixels at which there is attention, to the image and to the text; the middle
            block always has it.
        heads: number of attention heads.
        dropout: dropout probability, in [0, 1).
        groups: number of groups of the group norms.
        image: number of channels of a condition image (super-resolution, colourisation), 0 for none, at most
            15.
        learned_variance: whether the network also predicts the variance of a reverse step, in as many extra
            output channels.

    Returns:
        The network, with weights drawn from torch's global generator.

    Raises:
        FastdiffError: for settings that do not fit the images or each other.
    """
    sizes = resolutions("text_unet", shape, channels, groups)
    attending = [c for c, n in zip(channels, sizes, strict=True) if n in attention or n == sizes[-1]]
    if bad := [c for c in attending if c % heads]:
        raise FastdiffError(
            f"heads = {heads}: expected a divisor of {bad[0]}, the channels of an attention layer",
            key="heads",
        )
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
            attention_head_dim=heads,  # of this network, the number of heads
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
