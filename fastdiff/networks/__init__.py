"""Networks behind net(x, t, s, cond): name -> function of the data's shape and classes that builds a fresh one."""

from collections.abc import Callable

from torch import nn

from . import oracle
from .mlp import MLP, mlp
from .text_unet import TextUNet
from .transformers import SD3, Flux, PixArt
from .unet import UNet, unet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"unet": unet, "mlp": mlp}
# Networks by the name that fastdiff.json has for them.
KINDS: dict[str, type[nn.Module]] = {net.kind: net for net in (UNet, MLP, TextUNet, PixArt, SD3, Flux)}

__all__ = ["KINDS", "MLP", "NETWORKS", "TextUNet", "UNet", "mlp", "oracle", "unet"]
