"""Networks behind net(x, t, s, cond): name -> function of the data's shape and classes that builds a fresh one."""

from collections.abc import Callable

from torch import nn

from . import oracle
from .mlp import MLP, mlp
from .text_unet import TextUNet
from .unet import UNet, unet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"unet": unet, "mlp": mlp}

__all__ = ["MLP", "NETWORKS", "TextUNet", "UNet", "mlp", "oracle", "unet"]
