"""The networks of Karras et al. 2022 (EDM) with ADM's architecture, from plain tensors.

The authors' .pkl files hold code that runs when they are opened, so fastdiff never opens one. If you trust
such a file, export it once, in a checkout of the authors' repository, into a folder for `fastdiff.load`:

    import json, pickle, sys
    from safetensors.torch import save_file
    net = pickle.load(open(sys.argv[1], "rb"))["ema"]                       # edm-imagenet-64x64-cond-adm.pkl
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, "model.safetensors")
    json.dump(dict(net.init_kwargs, class_name=type(net).__name__), open("edm.json", "w"))

DhariwalUNet is exactly a UNet2DModel with other names. SongUNet (DDPM++, NCSN++) is not: it has attention in
one block of a resolution on the way up and in all blocks on the way down, it divides the sums at its
shortcuts by sqrt(2), and NCSN++ filters when it resamples.
"""

from pathlib import Path
from typing import Annotated, Literal

import torch
from diffusers import UNet2DModel
from pydantic import BaseModel, Field
from safetensors.torch import load_file
from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.files import read_object
from ...core.sampling import Sampling
from ...core.schedule import Karras
from ...core.validation import Finite, validate
from ...networks import UNet
from ...networks.pretrained import check_weights

EDM_FILE = "edm.json"
WEIGHTS_FILE = "model.safetensors"
Count = Annotated[int, Field(ge=1, le=4096)]
Factor = Annotated[int, Field(ge=1, le=64)]
# Layers of a block: the name in diffusers -> the name in EDM. Attention is a separate module in diffusers.
ATTENTION = {"group_norm": "norm2", "to_out": "proj"}
LAYERS = {
    "norm1": "norm0",
    "conv1": "conv0",
    "time_emb_proj": "affine",
    "norm2": "norm1",
    "conv2": "conv1",
    "conv_shortcut": "skip",
}


class Settings(BaseModel):
    """The contents of edm.json: the arguments of an EDMPrecond around a DhariwalUNet."""

    class_name: Literal["EDMPrecond"]
    model_type: Literal["DhariwalUNet"]
    img_resolution: Count
    img_channels: Count
    label_dim: Annotated[int, Field(ge=0, le=100_000)] = 0
    label_dropout: Finite = 0.0
    sigma_data: Annotated[Finite, Field(gt=0)] = 0.5
    # below 128 channels the norms have fewer groups
    model_channels: Annotated[int, Field(ge=128, le=4096, multiple_of=64)] = 192
    channel_mult: Annotated[tuple[Factor, ...], Field(min_length=1, max_length=12)] = (1, 2, 3, 4)
    channel_mult_emb: Count = 4
    num_blocks: Annotated[int, Field(ge=1, le=100)] = 3
    attn_resolutions: tuple[int, ...] = (32, 16, 8)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


def load_edm(folder: Path) -> Denoiser:
    """Load the model in a folder with model.safetensors and edm.json.

    Raises:
        FastdiffError: for settings that are not supported.
        ValueError: for weights that do not fit the settings.
    """
    check_weights(folder)
    settings = validate(Settings, read_object(folder / EDM_FILE), EDM_FILE)
    stored = {
        name.removeprefix("model."): value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()
    }
    with torch.device("meta"):  # checks the shapes before memory is allocated
        shapes = {name: value.shape for name, value in unet_of(settings).state_dict().items()}
    weights = {name: tensor_of(name, stored, settings) for name in shapes}
    if strange := [name for name, value in weights.items() if value.shape != shapes[name]]:
        raise ValueError(
            f"{strange[0]} is {tuple(weights[strange[0]].shape)}, expected {tuple(shapes[strange[0]])}"
        )
    module = unet_of(settings)
    module.load_state_dict(weights)
    if settings.label_dim and not settings.label_dropout:
        module.register_to_config(null_class=False)
    shape = (settings.img_channels, settings.img_resolution, settings.img_resolution)
    return Denoiser(
        UNet.of(module, shape, False),
        Karras(),
        "edm",
        shape,
        "edm",
        settings.sigma_data,
        True,
        sampling=Sampling("heun", "karras", (18,)),
    )


def unet_of(settings: Settings) -> UNet2DModel:
    """Return a UNet2DModel of the architecture, with random weights."""
    attends = [
        settings.img_resolution >> level in settings.attn_resolutions
        for level in range(len(settings.channel_mult))
    ]
    if settings.channel_mult[0] != 1 or settings.img_resolution % (1 << (len(attends) - 1)):
        raise ValueError(
            f"channel_mult = {settings.channel_mult} at {settings.img_resolution} pixels: expected a first "
            f"entry of 1, and a side divisible by {1 << (len(attends) - 1)}"
        )
    return UNet2DModel(
        settings.img_resolution,
        settings.img_channels,
        settings.img_channels,
        layers_per_block=settings.num_blocks,
        freq_shift=0,
        block_out_channels=tuple(settings.model_channels * by for by in settings.channel_mult),
        down_block_types=tuple(
            "AttnDownBlock2D" if attend else "ResnetDownsampleBlock2D" for attend in attends
        ),
        up_block_types=tuple(
            "AttnUpBlock2D" if attend else "ResnetUpsampleBlock2D" for attend in reversed(attends)
        ),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        dropout=settings.dropout,
        attention_head_dim=64,
        norm_num_groups=32,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        time_embedding_dim=settings.model_channels * settings.channel_mult_emb,
        num_class_embeds=settings.label_dim + bool(settings.label_dropout) if settings.label_dim else None,
    )


def tensor_of(name: str, stored: dict[str, Tensor], settings: Settings) -> Tensor:
    """Return a tensor of the UNet2DModel, converted from the stored tensors.

    Raises:
        ValueError: if the stored tensor is missing.
    """
    if name == "class_embedding.weight":
        rows = stored_tensor(stored, "map_label.weight").T
        # the null class is all zeros
        return torch.cat([rows, torch.zeros_like(rows[:1])]) if settings.label_dropout else rows
    *place, layer, kind = name.replace(".to_out.0.", ".to_out.").split(".")
    known = {
        "linear_1": "map_layer0",
        "linear_2": "map_layer1",
        "conv_in": f"enc.{side_of(settings, 0)}_conv",
        "conv_norm_out": "out_norm",
        "conv_out": "out_conv",
    }
    if layer in known:
        return stored_tensor(stored, f"{known[layer]}.{kind}")
    block = block_of([int(part) if part.isdigit() else part for part in place], settings)
    if layer in LAYERS:
        return stored_tensor(stored, f"{block}.{LAYERS[layer]}.{kind}")
    if layer in ATTENTION:
        tensor = stored_tensor(stored, f"{block}.{ATTENTION[layer]}.{kind}")
    else:  # EDM interleaves q, k and v of each channel
        qkv = stored_tensor(stored, f"{block}.qkv.{kind}").unflatten(0, (-1, 3))
        tensor = qkv[:, ("to_q", "to_k", "to_v").index(layer)]
    return tensor.flatten(1) if tensor.ndim > 2 else tensor


def block_of(place: list[str | int], settings: Settings) -> str:
    """Return EDM's name for a block or attention module of the UNet2DModel."""
    last = len(settings.channel_mult) - 1
    match place:
        case ["mid_block", "resnets", number]:
            return f"dec.{side_of(settings, last)}_in{number}"
        case ["mid_block", *_]:
            return f"dec.{side_of(settings, last)}_in0"
        case ["down_blocks", level, "downsamplers", _]:
            return f"enc.{side_of(settings, level + 1)}_down"
        case ["up_blocks", level, "upsamplers", _]:
            return f"dec.{side_of(settings, last - level - 1)}_up"
        case ["down_blocks", level, _, number]:
            return f"enc.{side_of(settings, level)}_block{number}"
        case [_, level, _, number]:
            return f"dec.{side_of(settings, last - level)}_block{number}"


def side_of(settings: Settings, level: int) -> str:
    """Return the resolution of a level as EDM writes it, such as 32x32."""
    return f"{settings.img_resolution >> level}x{settings.img_resolution >> level}"


def stored_tensor(stored: dict[str, Tensor], name: str) -> Tensor:
    """Return a stored tensor.

    Raises:
        ValueError: if it is missing.
    """
    if name not in stored:
        raise ValueError(f"{WEIGHTS_FILE} lacks {name}")
    return stored[name]
