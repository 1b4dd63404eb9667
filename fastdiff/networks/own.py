"""Networks of plugins: built by a registered name, and stored as safetensors with the name and options."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_file
from torch import nn

from ..core.errors import FastdiffError
from ..core.network import Blueprint
from ..core.validation import call
from .pretrained import stored

OWN_FOLDER = "network"  # folder of the weights in an export
OWN_FILE = "model.safetensors"


def build(name: str, shape: tuple[int, ...], classes: int = 0, **options: Any) -> nn.Module:
    """Build an untrained network by its name, so that `fastdiff.export` can store it.

    Example:
        >>> fastdiff.networks.NETWORKS["mine"] = MyNet  # or a function (shape, classes, **options)
        >>> net = fastdiff.networks.build("mine", (3, 32, 32), width=64)
        >>> model = fastdiff.Denoiser(net, fastdiff.SCHEDULES["cosine"](), "v", shape=(3, 32, 32))

    Args:
        name: a key of NETWORKS.
        shape: shape of one sample, such as (C, H, W).
        classes: number of classes; 0 for a network without labels.
        options: the network's settings, as numbers, texts and lists.

    Returns:
        The network, with weights drawn from torch's global generator.

    Raises:
        FastdiffError: for an unknown name or option, or a bad value.
    """
    return built(Blueprint(name, options, classes), shape, f"network {name}")


def built(blueprint: Blueprint, shape: tuple[int, ...], path: str) -> nn.Module:
    """Build a network from its blueprint; `path` is that of its options, for errors."""
    from . import NETWORKS  # imported late: the registry's module imports this one

    net = call(NETWORKS, blueprint.name, blueprint.options, path, tuple(shape), blueprint.classes)
    for method in blueprint.added:
        net = getattr(net, method)()
    if is_own(net):
        net.blueprint = blueprint
    return net


def is_own(net: nn.Module) -> bool:
    """Return whether a network is of a class that no file format of fastdiff has, also if it is compiled."""
    from . import KINDS  # imported late, as above

    return type(getattr(net, "_orig_mod", net)) not in KINDS.values()


def module_of(net: nn.Module) -> nn.Module:
    """Return the module whose weights are saved: that of diffusers which a network wraps, or the network."""
    return getattr(net, "_orig_mod", net) if is_own(net) else net.module


def check_storable(net: nn.Module, shape: tuple[int, ...], module: nn.Module | None = None) -> None:
    """Check that a network of a plugin can be stored and built again; other networks pass.

    Args:
        net: the network.
        shape: shape of one sample.
        module: the module to store, if it is not the network: with its adapter merged.

    Raises:
        FastdiffError: if it was not built by a registered name, or if the same name and options build a
            network with other weights.
    """
    from . import KINDS  # imported late, as above

    if not is_own(net):
        return
    kind = type(getattr(net, "_orig_mod", net)).__name__
    blueprint = getattr(net, "blueprint", None)
    if blueprint is None:
        raise FastdiffError(
            f"{kind} has no file format: expected one of fastdiff.networks, or a network that is registered "
            "in NETWORKS and built by fastdiff.networks.build"
        )
    what = f"network {blueprint.name} cannot be stored"
    if blueprint.name in KINDS:
        raise FastdiffError(f"{what}: fastdiff's own network has this name; register {kind} under another")
    try:
        json.dumps(blueprint.options)
    except (TypeError, ValueError) as error:
        raise FastdiffError(f"{what}: its options are not plain data ({error})") from None
    weights = (module_of(net) if module is None else module).state_dict()
    if odd := [name for name, value in weights.items() if not storable(value)]:
        raise FastdiffError(f"{what}: {odd[0]} in its state_dict is not a dense tensor; leave it out")
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        again = built(blueprint, shape, f"network {blueprint.name}").state_dict()
    sizes, sizes_again = ({name: value.shape for name, value in some.items()} for some in (weights, again))
    if differing := [name for name in sizes | sizes_again if sizes.get(name) != sizes_again.get(name)]:
        raise FastdiffError(
            f"{what}: built again with the same options, it has other weights ({differing[0]}); expected "
            "them to depend on shape, classes and options only"
        )


def storable(value: Any) -> bool:
    """Return whether a value of a state_dict is a dense tensor, which safetensors holds."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized


def save(module: nn.Module, folder: Path) -> None:
    """Save the weights of a network into a folder; weights that it holds twice are stored once.

    The file depends on the weights only: of several names of a tensor, the first is stored.
    """
    folder.mkdir(parents=True)
    names: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        names.setdefault((value.data_ptr() or name, tuple(value.shape), value.stride()), name)
    state = module.state_dict()
    save_file({name: state[name].contiguous() for name in names.values()}, folder / OWN_FILE)


def opened_own(blueprint: Blueprint, shape: tuple[int, ...], folder: Path) -> nn.Module:
    """Build a network from its blueprint and load its weights.

    Args:
        blueprint: the registered name, options and classes that it was built with.
        shape: shape of one sample.
        folder: folder of the weights.

    Raises:
        FastdiffError: if the plugin that is loaded builds a network that has other weights.
    """
    what = f"{folder.parent}: network {blueprint.name}"
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):  # before any memory is taken
            described = built(blueprint, shape, what)
        if not is_own(described):
            raise FastdiffError(
                f"{what} is not a plugin's: copy it again, or delete it and run its stage again"
            )
        least, present = sum(p.numel() for p in described.parameters()), sum(stored(folder))
        if least > present:
            raise other_version(what, f"{present:,} numbers, expected {least:,}")
        net = built(blueprint, shape, what)
    try:
        load_model(net, folder / OWN_FILE)
    except RuntimeError as error:
        raise other_version(what, " ".join(str(error).partition("\n")[2].split()) or str(error)) from None
    return net


def other_version(what: str, reason: str) -> FastdiffError:
    """Return the error for a plugin that builds a network with other weights than those that are stored."""
    return FastdiffError(
        f"{what}: the plugin's network does not have the stored weights ({reason:.200}); pass the version "
        "of the plugin that it was trained with"
    )


def noted(blueprint: Blueprint) -> dict[str, Any]:
    """Return a blueprint as plain data for fastdiff.json, without the name, which is its network."""
    return {key: value for key, value in asdict(blueprint).items() if key != "name"}
