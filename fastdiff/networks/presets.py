"""Networks of papers by name: builders with preset keywords, which a recipe can override."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..core.network import Network
from .dit import dit
from .text_unet import text_unet
from .unet import unet

Builder = Callable[..., Network]


def preset(builder: Builder, description: str, **keywords: Any) -> Builder:
    """Return a builder with preset keywords, and a description as its docstring."""
    made = partial(builder, **keywords)
    made.__name__ = builder.__name__
    made.__doc__ = description
    return made


def dit_preset(paper: str, ours: str, depth: int, width: int, heads: int) -> Builder:
    """Return a preset of DiT with 2 x 2 patches; `paper` and `ours` are numbers of parameters."""
    description = (
        f"{paper} in Peebles & Xie 2023, where all blocks share one embedding of time and class; "
        f"in diffusers each block has its own: {ours}"
    )
    return preset(dit, description, depth=depth, width=width, heads=heads, patch=2)


PRESETS: dict[str, Builder] = {
    "ddpm-cifar10": preset(
        unet,
        "35.7M, Ho et al. 2020; downsampling pads both sides, in the paper only one.",
        channels=(128, 256, 256, 256),
        layers=2,
        attention=(16,),
        head=256,
        dropout=0.1,
        groups=32,
    ),
    "edm-cifar10": preset(
        unet,
        "57.2M, close to the DDPM++ of Karras et al. 2022 (55.7M), which has attention after only one block "
        "of the upward path, 128 channels in the first convolution, scaled shortcuts and augmentations.",
        channels=(256, 256, 256),
        layers=4,
        attention=(16,),
        head=256,
        dropout=0.13,
        groups=32,
        resampling="resnet",
        embedding=512,
    ),
    "adm-64": preset(
        unet,
        "296M, Dhariwal & Nichol 2021 for ImageNet 64 x 64; set learned_variance: true as in the paper.",
        channels=(192, 384, 576, 768),
        layers=3,
        attention=(32, 16, 8),
        head=64,
        dropout=0.1,
        groups=32,
        scale_shift=True,
        resampling="resnet",
    ),
    "dit-s/2": dit_preset("33M", "39.8M", depth=12, width=384, heads=6),
    "dit-b/2": dit_preset("130M", "147.4M", depth=12, width=768, heads=12),
    "dit-l/2": dit_preset("458M", "511.6M", depth=24, width=1024, heads=16),
    "dit-xl/2": dit_preset("675M", "749.8M", depth=28, width=1152, heads=16),
    "sd15": preset(
        text_unet,
        "860M, the latent network of Stable Diffusion 1.5 (Rombach et al. 2022).",
        text=768,
        channels=(320, 640, 1280, 1280),
        layers=2,
        attention=(64, 32, 16),
        heads=8,
        groups=32,
    ),
}
