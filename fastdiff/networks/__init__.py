"""Networks: net(x, t, s, cond), and the networks around a model. Imports core alone, of the wings.

NETWORKS holds by name the functions (shape, classes, **settings) that build a fresh network, and KINDS by the
name in fastdiff.json the classes that are stored.

Networks of models:
    backbone       the base of diffusers' image networks
    unet           UNet2DModel
    dit            DiTTransformer2DModel
    text_unet      UNet2DConditionModel, the network of Stable Diffusion
    transformers   PixArt, Stable Diffusion 3 and Flux
    mlp            a residual MLP for vectors
    oracle         exact denoisers of mixtures and of points
    presets        networks of papers by name

Around them:
    autoencoder    images to latents and back
    text_encoder   prompts to embeddings
    discriminator  discriminators of adversarial losses
    lora           low-rank adapters
    inference      lower precision, memory layout, compilation

Networks that measure, and files:
    classifiers    features of small images
    lpips          a perceptual distance
    pretrained     weights in a folder, opened without running code of theirs
    download       public weights in torch's cache
"""

from collections.abc import Callable

from ..core.network import Network
from . import oracle
from .dit import DiT, dit
from .mlp import MLP, mlp
from .presets import PRESETS
from .text_unet import TextUNet, text_unet
from .transformers import SD3, Flux, PixArt
from .unet import UNet, unet

NETWORKS: dict[str, Callable[..., Network]] = {
    "unet": unet,
    "mlp": mlp,
    "dit": dit,
    "text_unet": text_unet,
    **PRESETS,
}
# Networks by the name that fastdiff.json has for them.
KINDS: dict[str, type[Network]] = {net.kind: net for net in (UNet, MLP, TextUNet, DiT, PixArt, SD3, Flux)}

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
