"""Bare networks of diffusers, wrapped by the kind of network that has their class."""

from diffusers import ModelMixin

from ..core.errors import FastdiffError
from ..core.network import Network
from .dit import DiT
from .text_unet import TextUNet
from .transformers import SD3, Flux, PixArt
from .unet import UNet

# Class of diffusers -> the network that wraps it.
WRAPPERS: dict[str, type[Network]] = {
    "UNet2DModel": UNet,
    "UNet2DConditionModel": TextUNet,
    "DiTTransformer2DModel": DiT,
    "PixArtTransformer2DModel": PixArt,
    "SD3Transformer2DModel": SD3,
    "FluxTransformer2DModel": Flux,
}


def wrapped(module: ModelMixin, shape: tuple[int, ...] | None) -> Network:
    """Return a network of diffusers behind net(x, t, s, cond).

    Args:
        module: the network.
        shape: shape of one sample, (C, H, W); None if unknown.

    Raises:
        FastdiffError: for a class that fastdiff does not wrap, and for a network of other samples.
    """
    name = type(module).__name__
    kind = WRAPPERS.get(name)
    if kind is None:
        raise FastdiffError(
            f"net: {name} of diffusers is not supported, expected one of {', '.join(WRAPPERS)}, or a module "
            "or function net(x, t, s, cond) that calls it"
        )
    guided = bool(module.config.get("time_cond_proj_dim") or module.config.get("guidance_embeds"))
    if shape is None:
        shape = (module.config.in_channels // kind.each, 64, 64)  # sides that all of them can halve
    try:
        return kind.of(module, shape, guided)
    except ValueError as error:
        raise FastdiffError(f"net: {name}: {error}") from None
