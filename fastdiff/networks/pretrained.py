"""Pretrained weights in a network's folder: safetensors that match config.json, never pickled files."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
# Settings that are numbers of layers.
LAYER_COUNTS = ("layers_per_block", "transformer_layers_per_block", "num_layers", "depth")
INDEX = "*.safetensors.index.json"
WARNING = "is pickled, which could run code as it is read: convert it once, as plain tensors,"


# Floating-point type in which networks and text encoders are opened; None for the type of the library.
WEIGHTS_DTYPE: ContextVar[torch.dtype | None] = ContextVar("weights_dtype", default=None)
LFS_POINTER = b"version https://git-lfs"  # the beginning of a file whose contents git-lfs has not fetched


class UnreadWeights(FastdiffError):
    """An error for weights that are rejected before they are opened; its message names the file."""


@contextmanager
def weights_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Open weights in a floating-point type within the context, without a copy in float32 on the way."""
    token = WEIGHTS_DTYPE.set(dtype)
    try:
        yield
    finally:
        WEIGHTS_DTYPE.reset(token)


def check_weights(folder: Path) -> None:
    """Raise UnreadWeights for weights that cannot be opened.

    These are pickled weights, an index that names missing or outside files, pointers of git-lfs, and a
    variant such as fp16 without the plain files.
    """
    check_pointers(folder)
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
                f"{index}: weight_map names {min(strange)!r:.80}, expected safetensors files in that folder"
            )
        lost = [name for name in named if not (folder / name).is_file()]
        if lost:
            raise UnreadWeights(
                f"{index} names {min(lost)}, which is missing: download or copy the model again completely"
            )
    pickled = sorted(path for path in folder.glob("*") if path.suffix in PICKLED)
    if pickled and not any(folder.glob("*.safetensors")):
        raise UnreadWeights(pickled_folder(pickled[0].name, folder))
    check_variants(folder)


def check_pointers(folder: Path) -> None:
    """Raise UnreadWeights if a file of weights is a pointer of git-lfs."""
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UnreadWeights(
                    f"{path} is a pointer of git-lfs without the weights: run `git lfs pull` in its "
                    "repository, or download the model with `hf download`"
                )


def check_variants(folder: Path) -> None:
    """Raise UnreadWeights if a folder has weights only as a variant, NAME.VARIANT.safetensors.

    A file of a variant holds the same tensors in another dtype; shards are named NAME.VARIANT-00001-of-00002.
    """
    config = folder / "config.json"
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    plain = [name for name in files if len(name.split(".")) == 2]
    if plain or not files or not config.is_file():
        return
    variant = files[0].split(".")[1].partition("-")[0]
    named = f"only the variant {variant} ({files[0]})"
    if len(files) == 1:
        renamed = files[0].replace(f".{variant}", "", 1)
        remedy = f"rename it to {renamed}"
    else:
        library, kind = class_of(folder)
        remedy = (
            f'save it without the variant, python -c "import sys; from {library} import {kind} as U; '
            f"U.from_pretrained(sys.argv[1], variant='{variant}').save_pretrained(sys.argv[1])\" "
            f"{quote(str(folder))}, and delete the files of the variant"
        )
    raise UnreadWeights(f"{folder} has {named}: {remedy}")


def check_present(folder: Path) -> None:
    """Raise UnreadWeights if the folder of a network has no weights at all."""
    if not any(folder.glob("*.safetensors")):
        raise UnreadWeights(
            f"{folder} has a config.json and no weights: download or copy the model again with them"
        )


def pickled_folder(file: str, folder: Path) -> str:
    """Return the error for a pickled file in a diffusers folder, with the command that converts it."""
    library, kind = class_of(folder)
    return (
        f'{folder / file} {WARNING} python -c "import sys; from {library} import {kind} as U; '
        "U.from_pretrained(sys.argv[1], use_safetensors=False).save_pretrained(sys.argv[1])"
        f'" {quote(str(folder))}'
    )


def class_of(folder: Path) -> tuple[str, str]:
    """Return the library and class in a folder's config.json, by default diffusers' UNet2DModel."""
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
    """Return the error for a pickled file, with the command that converts it without running its code."""
    target = path.with_name("diffusion_pytorch_model.safetensors")
    edm = "; NVlabs EDM networks: see fastdiff/io/formats/edm.py" if path.suffix == ".pkl" else ""
    return (
        f'{path} {WARNING} python -c "import sys, torch; from safetensors.torch import save_file; '
        f'save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])" '
        f"{quote(str(path))} {quote(str(target))}, "
        f"and name the diffusers folder in whose unet/ it belongs{edm}"
    )


def opened(kind: type[ModelMixin], folder: Path) -> Any:
    """Open a module of diffusers, if its config.json describes no more numbers than its weights hold.

    Args:
        kind: class of the module.
        folder: folder of the module, checked by `check_weights`.

    Raises:
        ValueError: if it describes more, or cannot be read.
    """
    if (folder / "config.json").is_file():
        check_present(folder)
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
            raise ValueError(f"it describes {described:,} numbers, but the weights hold {sum(sizes):,}")
        model, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            torch_dtype=WEIGHTS_DTYPE.get(),
        )
        for part in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            for key in report.get(part, ()):
                raise ValueError(f"the weights and the network differ in {key}")
        return model
    except Exception as error:  # damaged files can fail anywhere in the constructor
        raise ValueError(f"{folder.name}/config.json or its weights: {first_line(error)}") from None


def digest(module: nn.Module, *others: Any) -> str:
    """Return the SHA-256 of a module's weights and of other values, in hex."""
    found = hashlib.sha256(repr(others).encode())
    for name, value in module.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def stored(folder: Path) -> Iterator[int]:
    """Yield the size of each tensor in a folder, from the headers of its files."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            yield from (prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
