"""The weights in a network's folder: safetensors within it, as many numbers as its config.json asks for, nothing pickled."""

import hashlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import safe_open
from torch import nn

from ..core.errors import FastdiffError, first_line
from ..core.files import read_json, read_object

PICKLED = (".bin", ".pt", ".ckpt", ".pth", ".pkl", ".pickle")
DEEP = (
    "layers_per_block",
    "transformer_layers_per_block",
    "num_layers",
    "depth",
)  # settings that count layers
INDEX = "*.safetensors.index.json"
WARNING = "is pickled, which could run code as it is read: convert it once, as plain tensors,"


class UnreadWeights(FastdiffError):
    """Weights that are not even opened; its line names the file, and is whole."""


def check_weights(folder: Path) -> None:
    """Refuse a folder that has pickled weights alone, or whose index names a file elsewhere, or one that is not there."""
    for index in sorted(folder.glob(INDEX)):
        try:
            named = set(read_json(index)["weight_map"].values())
            if not all(isinstance(name, str) for name in named):
                raise TypeError("weight_map names no files")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadWeights(
                f"{index} is damaged ({type(error).__name__}: {error}): copy it again"
            ) from None
        if strange := sorted(
            name for name in named if Path(name).name != name or not name.endswith(".safetensors")
        ):
            raise UnreadWeights(
                f"{index}: weight_map names {strange[0]!r:.80}, expected safetensors files beside it"
            )
        if lost := sorted(name for name in named if not (folder / name).is_file()):
            raise UnreadWeights(
                f"{index} names {lost[0]}, which is not there: fetch or copy the model again, whole"
            )
    pickled = sorted(path for path in folder.glob("*") if path.suffix in PICKLED)
    if pickled and not any(folder.glob("*.safetensors")):
        raise UnreadWeights(pickled_folder(pickled[0].name, folder))


def pickled_folder(file: str, folder: Path) -> str:
    """Why a pickled file of a diffusers folder is not read, and how to convert it, which runs nothing of it."""
    library, kind = class_of(folder)
    return (
        f'{folder / file} {WARNING} python -c "import sys; from {library} import {kind} as U; '
        f'U.from_pretrained(sys.argv[1], use_safetensors=False).save_pretrained(sys.argv[1])" {quote(str(folder))}'
    )


def class_of(folder: Path) -> tuple[str, str]:
    """The library and class that a folder's config.json names; a UNet2DModel where it names none."""
    try:
        said = read_object(folder / "config.json")
        library = "transformers" if "architectures" in said else "diffusers"
        kind = said["architectures"][0] if "architectures" in said else said["_class_name"]
    except (OSError, ValueError, TypeError, LookupError):
        library, kind = "diffusers", ""
    return (library, kind) if isinstance(kind, str) and kind.isidentifier() else ("diffusers", "UNet2DModel")


def pickled_file(path: Path) -> str:
    """Why a pickled file is not read, and how to convert it, which runs nothing of it."""
    target = path.with_name("diffusion_pytorch_model.safetensors")
    return (
        f'{path} {WARNING} python -c "import sys, torch; from safetensors.torch import save_file; '
        f'save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])" {quote(str(path))} {quote(str(target))}, '
        f"and name the diffusers folder in whose unet/ it belongs"
        f"{'; NVlabs EDM networks: see fastdiff/io/formats/edm.py' if path.suffix == '.pkl' else ''}"
    )


def opened(kind: type[ModelMixin], folder: Path) -> Any:
    """diffusers' from_pretrained of a folder whose config.json asks for no more numbers than its weights are.

    ValueError where it does, or cannot be read; what `check_weights` refuses is not to come here.
    """
    try:
        config, sizes = read_json(folder / "config.json"), list(stored(folder))
        for name, value in config.items():
            count = len(value) if isinstance(value, list) else value if name in DEEP else 0
            if isinstance(count, int) and count > len(sizes):
                raise ValueError(f"{name} is {count}, for weights of {len(sizes)} tensors")
        with torch.device("meta"):  # before any memory is taken
            asked = sum(tensor.numel() for tensor in kind.from_config(config).state_dict().values())
        if asked > sum(sizes):
            raise ValueError(f"it describes {asked:,} numbers, and the weights are {sum(sizes):,}")
        model, told = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if strange := [
            key
            for part in ("missing_keys", "unexpected_keys", "mismatched_keys")
            for key in told.get(part, ())
        ]:
            raise ValueError(f"the weights and the network differ in {strange[0]}")
        return model
    except Exception as error:  # what is broken can fail anywhere in the network's making
        raise ValueError(f"{folder.name}/config.json or its weights: {first_line(error)}") from None


def digest(module: nn.Module, *others: Any) -> str:
    """SHA-256 of a module's weights, and of what else it depends on, in hex."""
    found = hashlib.sha256(repr(others).encode())
    for name, value in module.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def stored(folder: Path) -> Iterator[int]:
    """How many numbers each tensor in a folder has, as the files' headers say."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            yield from (prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
