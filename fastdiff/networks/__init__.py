"""Networks behind net(x, t, s, cond): name -> function of the data's shape and classes that builds a fresh one."""

from collections.abc import Callable

from torch import nn

from . import oracle
from .dit import DiT, dit
from .mlp import MLP, mlp
from .presets import PRESETS
from .text_unet import TextUNet, text_unet
from .transformers import SD3, Flux, PixArt
from .unet import UNet, unet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "mlp": mlp,
    "dit": dit,
    "text_unet": text_unet,
} | PRESETS
# Networks by the name that fastdiff.json has for them.
KINDS: dict[str, type[nn.Module]] = {net.kind: net for net in (UNet, MLP, TextUNet, DiT, PixArt, SD3, Flux)}

__all__ = [
    "KINDS",
    "MLP",
    "NETWORKS",
    "PRESETS",
    "DiT",
    "TextUNet",
    "UNet",
    "dit",
    "mlp",
    "oracle",
    "text_unet",
    "unet",
]
