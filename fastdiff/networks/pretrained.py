"""The weights in a network's folder: safetensors that match its config.json, and nothing pickled."""

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
# Settings that count layers.
LAYER_COUNTS = ("layers_per_block", "transformer_layers_per_block", "num_layers", "depth")
INDEX = "*.safetensors.index.json"
WARNING = "is pickled, which could run code as it is read: convert it once, as plain tensors,"


class UnreadWeights(FastdiffError):
    """Weights that are refused before they are opened; the message names the file and needs no prefix."""


def check_weights(folder: Path) -> None:
    """Raise UnreadWeights for pickled weights, and for an index of missing files or files elsewhere."""
    for index in sorted(folder.glob(INDEX)):
        try:
            named = set(read_json(index)["weight_map"].values())
            if not all(isinstance(name, str) for name in named):
                raise TypeError("weight_map names no files")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadWeights(
                f"{index} is damaged ({type(error).__name__}: {error}): copy it again"
            ) from None
        strange = [name for name in named if Path(name).name != name or not name.endswith(".safetensors")]
        if strange:
            raise UnreadWeights(
                f"{index}: weight_map names {min(strange)!r:.80}, expected safetensors files beside it"
            )
        lost = [name for name in named if not (folder / name).is_file()]
        if lost:
            raise UnreadWeights(
                f"{index} names {min(lost)}, which is not there: fetch or copy the model again, whole"
            )
    pickled = sorted(path for path in folder.glob("*") if path.suffix in PICKLED)
    if pickled and not any(folder.glob("*.safetensors")):
        raise UnreadWeights(pickled_folder(pickled[0].name, folder))


def pickled_folder(file: str, folder: Path) -> str:
    """Return why a pickled file in a diffusers folder is not read, and the command that converts it."""
    library, kind = class_of(folder)
    return (
        f'{folder / file} {WARNING} python -c "import sys; from {library} import {kind} as U; '
        "U.from_pretrained(sys.argv[1], use_safetensors=False).save_pretrained(sys.argv[1])"
        f'" {quote(str(folder))}'
    )


def class_of(folder: Path) -> tuple[str, str]:
    """Return the library and class that a folder's config.json names, by default diffusers' UNet2DModel."""
    default = ("diffusers", "UNet2DModel")
    try:
        config = read_object(folder / "config.json")
        of_transformers = "architectures" in config
        kind = config["architectures"][0] if of_transformers else config["_class_name"]
    except (OSError, ValueError, TypeError, LookupError):
        return default
    if not isinstance(kind, str) or not kind.isidentifier():
        return default
    return ("transformers" if of_transformers else "diffusers", kind)


def pickled_file(path: Path) -> str:
    """Return why a pickled file is not read, and the command that converts it without running its code."""
    target = path.with_name("diffusion_pytorch_model.safetensors")
    edm = "; NVlabs EDM networks: see fastdiff/io/formats/edm.py" if path.suffix == ".pkl" else ""
    return (
        f'{path} {WARNING} python -c "import sys, torch; from safetensors.torch import save_file; '
        f'save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])" '
        f"{quote(str(path))} {quote(str(target))}, "
        f"and name the diffusers folder in whose unet/ it belongs{edm}"
    )


def opened(kind: type[ModelMixin], folder: Path) -> Any:
    """Open a module of diffusers whose config.json describes no more numbers than its weights have.

    Args:
        kind: class of the module.
        folder: its folder, which `check_weights` has let pass.

    Raises:
        ValueError: if it describes more, or cannot be read.
    """
    try:
        config = read_json(folder / "config.json")
        sizes = list(stored(folder))
        for name, value in config.items():
            layers = value if name in LAYER_COUNTS else 0
            count = len(value) if isinstance(value, list) else layers
            if isinstance(count, int) and count > len(sizes):
                raise ValueError(f"{name} is {count}, for weights of {len(sizes)} tensors")
        with torch.device("meta"):  # before any memory is taken
            described = sum(tensor.numel() for tensor in kind.from_config(config).state_dict().values())
        if described > sum(sizes):
            raise ValueError(f"it describes {described:,} numbers, and the weights are {sum(sizes):,}")
        model, report = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        for part in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            for key in report.get(part, ()):
                raise ValueError(f"the weights and the network differ in {key}")
        return model
    except Exception as error:  # what is broken can fail anywhere in the network's making
        raise ValueError(f"{folder.name}/config.json or its weights: {first_line(error)}") from None


def digest(module: nn.Module, *others: Any) -> str:
    """Return the SHA-256 of a module's weights and of other values, in hex."""
    found = hashlib.sha256(repr(others).encode())
    for name, value in module.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def stored(folder: Path) -> Iterator[int]:
    """Yield the number of numbers of each tensor in a folder, from the files' headers."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            yield from (prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
