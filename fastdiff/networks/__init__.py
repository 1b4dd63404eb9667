"""Networks: net(x, t, s, cond), and the networks around a model. Imports no wing but core.

NETWORKS maps names to functions (shape, classes, **settings) that build an untrained network. KINDS maps
names in fastdiff.json to the classes of stored networks; networks of plugins are stored by their names in
NETWORKS.

Networks of models:
    backbone       the base class of diffusers' image networks
    bare           bare networks of diffusers, wrapped
    unet           UNet2DModel
    dit            DiTTransformer2DModel
    text_unet      UNet2DConditionModel, the network of Stable Diffusion
    transformers   PixArt, Stable Diffusion 3 and Flux
    mlp            a residual MLP for vectors
    oracle         exact denoisers of mixtures and of points
    presets        networks of papers by name
    own            networks of plugins, stored with their registered name

Around them:
    autoencoder    images to latents and back
    text_encoder   prompts to embeddings
    text_fit       whether tokenizers, text encoders and network of a pipeline fit
    discriminator  discriminators of adversarial losses
    lora           low-rank adapters
    inference      lower precision, memory layout, compilation

Feature networks, and files:
    classifiers    features of small images
    lpips          a perceptual distance
    pretrained     weights in a folder, opened without running code from it
    download       public weights in torch's cache
"""

from collections.abc import Callable

from ..core.network import Network
from ..core.registry import Registry
from . import oracle
from .dit import DiT, dit
from .mlp import MLP, mlp
from .own import OWN_FOLDER, build
from .presets import PRESETS
from .text_unet import TextUNet, text_unet
from .transformers import SD3, Flux, PixArt
from .unet import UNet, unet

NETWORKS: Registry[Callable[..., Network]] = Registry(
    {
        "unet": unet,
        "mlp": mlp,
        "dit": dit,
        "text_unet": text_unet,
        **PRESETS,
    }
)
# Classes of networks by their names in fastdiff.json.
KINDS: dict[str, type[Network]] = {net.kind: net for net in (UNet, MLP, TextUNet, DiT, PixArt, SD3, Flux)}


def folder_of(kind: str) -> str:
    """Return the folder of a network's weights in an export, by the network's name in fastdiff.json."""
    return KINDS[kind].folder if kind in KINDS else OWN_FOLDER


__all__ = [
    "KINDS",
    "MLP",
    "NETWORKS",
    "PRESETS",
    "DiT",
    "TextUNet",
    "UNet",
    "build",
    "dit",
    "folder_of",
    "mlp",
    "oracle",
    "text_unet",
    "unet",
]
