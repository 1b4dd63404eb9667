"""Networks of Karras et al. 2022 (EDM) with ADM's architecture, from plain tensors.

Their .pkl files hold code, which runs as they are opened, so that none is ever opened here. Whoever trusts
one exports it once, where that code is at home (a checkout of the authors' repository), into a folder for
`fastdiff.load`:

    import json, pickle, sys from safetensors.torch import save_file net = pickle.load(open(sys.argv[1],
    "rb"))["ema"]                         # edm-imagenet-64x64-cond-adm.pkl save_file({name:
    value.contiguous() for name, value in net.state_dict().items()}, "model.safetensors")
    json.dump(dict(net.init_kwargs, class_name=type(net).__name__), open("edm.json", "w"))

DhariwalUNet is a UNet2DModel by other names, exactly. SongUNet (DDPM++, NCSN++) is none: it attends in one
block of a resolution on its way up and in all on its way down, divides what its shortcuts add up by sqrt 2,
and NCSN++ filters.
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

EDM, WEIGHTS = "edm.json", "model.safetensors"
Count = Annotated[int, Field(ge=1, le=4096)]
Factor = Annotated[int, Field(ge=1, le=64)]
# Within a block: their layers by diffusers', whose attention is a module of its own.
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
    """edm.json: what an EDMPrecond of a DhariwalUNet was made with."""

    class_name: Literal["EDMPrecond"]
    model_type: Literal["DhariwalUNet"]
    img_resolution: Count
    img_channels: Count
    label_dim: Annotated[int, Field(ge=0, le=100_000)] = 0
    label_dropout: Finite = 0.0
    sigma_data: Annotated[Finite, Field(gt=0)] = 0.5
    model_channels: Annotated[int, Field(ge=128, le=4096, multiple_of=64)] = (
        192  # below, norms have fewer groups
    )
    channel_mult: Annotated[tuple[Factor, ...], Field(min_length=1, max_length=12)] = (1, 2, 3, 4)
    channel_mult_emb: Count = 4
    num_blocks: Annotated[int, Field(ge=1, le=100)] = 3
    attn_resolutions: tuple[int, ...] = (32, 16, 8)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


def load_edm(folder: Path) -> Denoiser:
    """The model of a folder of model.safetensors and edm.json; ValueError or FastdiffError where they do not fit."""
    check_weights(folder)
    said = validate(Settings, read_object(folder / EDM), EDM)
    stored = {
        name.removeprefix("model."): value.float() for name, value in load_file(folder / WEIGHTS).items()
    }
    with torch.device("meta"):  # before any memory is taken
        wanted = {name: value.shape for name, value in unet_of(said).state_dict().items()}
    weights = {name: tensor_of(name, stored, said) for name in wanted}
    if strange := [name for name, value in weights.items() if value.shape != wanted[name]]:
        raise ValueError(
            f"{strange[0]} is {tuple(weights[strange[0]].shape)}, expected {tuple(wanted[strange[0]])}"
        )
    module = unet_of(said)
    module.load_state_dict(weights)
    if said.label_dim and not said.label_dropout:
        module.register_to_config(null_class=False)
    shape = (said.img_channels, said.img_resolution, said.img_resolution)
    return Denoiser(
        UNet.of(module, shape, False),
        Karras(),
        "edm",
        shape,
        "edm",
        said.sigma_data,
        True,
        sampling=Sampling("heun", "karras", (18,)),
    )


def unet_of(said: Settings) -> UNet2DModel:
    """The same architecture, its weights newly drawn."""
    attends = [
        said.img_resolution >> level in said.attn_resolutions for level in range(len(said.channel_mult))
    ]
    if said.channel_mult[0] != 1 or said.img_resolution % (1 << (len(attends) - 1)):
        raise ValueError(
            f"channel_mult {said.channel_mult} at {said.img_resolution} pixels: expected a first of 1, and "
            "halvings that leave whole pixels"
        )
    return UNet2DModel(
        said.img_resolution,
        said.img_channels,
        said.img_channels,
        layers_per_block=said.num_blocks,
        freq_shift=0,
        block_out_channels=tuple(said.model_channels * by for by in said.channel_mult),
        down_block_types=tuple(
            "AttnDownBlock2D" if attend else "ResnetDownsampleBlock2D" for attend in attends
        ),
        up_block_types=tuple(
            "AttnUpBlock2D" if attend else "ResnetUpsampleBlock2D" for attend in reversed(attends)
        ),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        dropout=said.dropout,
        attention_head_dim=64,
        norm_num_groups=32,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        time_embedding_dim=said.model_channels * said.channel_mult_emb,
        num_class_embeds=said.label_dim + bool(said.label_dropout) if said.label_dim else None,
    )


def tensor_of(name: str, stored: dict[str, Tensor], said: Settings) -> Tensor:
    """A tensor of the UNet2DModel, out of theirs; ValueError where that is missing."""
    if name == "class_embedding.weight":
        rows = taken(stored, "map_label.weight").T
        return (
            torch.cat([rows, torch.zeros_like(rows[:1])]) if said.label_dropout else rows
        )  # no label is all zeros
    *place, layer, kind = name.replace(".to_out.0.", ".to_out.").split(".")
    known = {
        "linear_1": "map_layer0",
        "linear_2": "map_layer1",
        "conv_in": f"enc.{side_of(said, 0)}_conv",
        "conv_norm_out": "out_norm",
        "conv_out": "out_conv",
    }
    if layer in known:
        return taken(stored, f"{known[layer]}.{kind}")
    block = block_of([int(part) if part.isdigit() else part for part in place], said)
    if layer in LAYERS:
        return taken(stored, f"{block}.{LAYERS[layer]}.{kind}")
    if layer in ATTENTION:
        found = taken(stored, f"{block}.{ATTENTION[layer]}.{kind}")
    else:  # q, k, v of a channel lie side by side
        found = taken(stored, f"{block}.qkv.{kind}").unflatten(0, (-1, 3))[
            :, ("to_q", "to_k", "to_v").index(layer)
        ]
    return found.flatten(1) if found.ndim > 2 else found


def block_of(place: list[str | int], said: Settings) -> str:
    """Their name of a block or attention of the UNet2DModel."""
    last = len(said.channel_mult) - 1
    match place:
        case ["mid_block", "resnets", number]:
            return f"dec.{side_of(said, last)}_in{number}"
        case ["mid_block", *_]:
            return f"dec.{side_of(said, last)}_in0"
        case ["down_blocks", level, "downsamplers", _]:
            return f"enc.{side_of(said, level + 1)}_down"
        case ["up_blocks", level, "upsamplers", _]:
            return f"dec.{side_of(said, last - level - 1)}_up"
        case ["down_blocks", level, _, number]:
            return f"enc.{side_of(said, level)}_block{number}"
        case [_, level, _, number]:
            return f"dec.{side_of(said, last - level)}_block{number}"


def side_of(said: Settings, level: int) -> str:
    """How they write the resolution of a level."""
    return f"{said.img_resolution >> level}x{said.img_resolution >> level}"


def taken(stored: dict[str, Tensor], name: str) -> Tensor:
    """A stored tensor."""
    if name not in stored:
        raise ValueError(f"{WEIGHTS} lacks {name}")
    return stored[name]
