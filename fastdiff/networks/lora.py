"""Low-rank adapters (Hu et al. 2022): trained weights next to a student's frozen initial weights."""

from copy import copy, deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import nn

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.validation import Strict, suggestion
from .own import is_own, module_of

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# Layers that are adapted by default, by the kind of network; the attention layers in all others.
TARGETS = {"unet": (*ATTENTION, "conv1", "conv2", "conv_shortcut", "time_emb_proj"), "mlp": ("blocks",)}
ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Pipelines whose load_lora_weights loads an adapter, by the kind of network.
PIPELINES = {
    "text_unet": "StableDiffusionPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}


class Lora(Strict):
    """A low-rank adapter, whose weights are the only ones of the student that are trained.

    Args:
        rank: rank of the adapter.
        alpha: scale of the adapter times the rank; None for the rank, a scale of 1.
        targets: parts of the names of the layers that are adapted, such as to_q. Empty: the attention layers,
            for a unet also the convolutions, for an mlp all blocks.
    """

    rank: Annotated[int, Field(ge=1, le=2**16)] = 64
    alpha: Annotated[float, Field(gt=0)] | None = None
    targets: tuple[str, ...] = ()


def installed() -> None:
    """Raise FastdiffError if peft is missing."""
    if not find_spec("peft"):
        raise FastdiffError("train.lora needs peft: pip install 'fastdiff[lora]'")


def adapt(model: Denoiser, spec: Lora) -> None:
    """Add a zero-initialised adapter to the model's network and freeze all other weights.

    Raises:
        FastdiffError: if peft is missing, and for targets that name no layer.
    """
    installed()
    from peft import LoraConfig, inject_adapter_in_model

    net = model.net.requires_grad_(False)
    module = module_of(net)
    targets = spec.targets or TARGETS.get(kind_of(net), ATTENTION)
    layers = matching(module, targets, every=bool(spec.targets))
    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha or spec.rank, target_modules=layers)
    inject_adapter_in_model(config, module)


def kind_of(net: nn.Module) -> str | None:
    """Return the kind of a network of fastdiff; None for that of a plugin."""
    return None if is_own(net) else net.kind


def matching(module: nn.Module, targets: tuple[str, ...], every: bool) -> list[str]:
    """Return the names of the layers that have a target in their dotted name, such as to_q or mid_block.

    Args:
        module: module of a network.
        targets: targets, each one or more parts of a dotted name.
        every: whether every target must match a layer, and not only one of them.
    """
    layers = [name for name, layer in module.named_modules() if isinstance(layer, ADAPTABLE)]
    found = {target: [name for name in layers if f".{target}." in f".{name}."] for target in targets}
    missing = [target for target in targets if not found[target]]
    if missing and (every or len(missing) == len(targets)):
        parts = {part for name in layers for part in name.split(".") if not part.isdigit()}
        raise FastdiffError(
            f"train.lora.targets: no layer of the network is called {missing[0]}"
            f"{suggestion(missing[0], parts)}"
        )
    return [name for name in layers if any(name in own for own in found.values())]


def twin(model: Denoiser) -> Denoiser:
    """Return a copy that shares the memory of the weights that are not trained."""
    return deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})


def adapted(module: nn.Module) -> bool:
    """Return whether a network's module has an adapter."""
    return hasattr(module, "peft_config")


def merged(module: nn.Module) -> nn.Module:
    """Return a copy of a network's module, with its adapter (if any) merged into the weights."""
    module = deepcopy(module)
    if not adapted(module):
        return module
    for name, layer in list(module.named_modules()):
        if hasattr(layer, "base_layer"):
            layer.merge()
            module.set_submodule(name, layer.get_base_layer())
    forget_adapter(module)
    return module


def forget_adapter(module: nn.Module) -> None:
    """Remove `peft_config` from a module whose adapted layers have been replaced.

    peft sets it on the module that it adapts, and cannot remove it from a module that is not a PeftModel.
    `adapted` would still be true with it.
    """
    del module.peft_config


def save(net: nn.Module, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Save the adapter of a network into a folder, in the format of the function that loads it.

    The scale is multiplied into the weights, so that alpha equals the rank in the files.

    Args:
        net: adapted network.
        folder: folder of the files.
        dtype: dtype of the saved weights.

    Returns:
        Rank, alpha and number of layers of the adapter, and the name of the function that reads it.
    """
    import diffusers
    from peft import get_peft_model_state_dict

    module = module_of(net)
    config = module.peft_config["default"]
    pipeline = PIPELINES.get(kind_of(net))
    size = {"lora_B": config.lora_alpha / config.r, "lora_A": 1.0}
    layers = {
        name: (value * size[name.split(".")[-2]]).cpu().type(dtype).contiguous()
        for name, value in get_peft_model_state_dict(module).items()
    }
    if pipeline:
        getattr(diffusers, pipeline).save_lora_weights(folder, **{f"{net.folder}_lora_layers": layers})
    else:
        plain = copy(config)
        plain.lora_alpha = config.r
        plain.target_modules = sorted(config.target_modules)
        plain.save_pretrained(str(folder))
        save_file(
            {f"base_model.model.{name}": value for name, value in layers.items()},
            folder / "adapter_model.safetensors",
            {"format": "pt"},
        )
    reader = f"diffusers {pipeline}.load_lora_weights" if pipeline else "peft PeftModel.from_pretrained"
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "layers": len(config.target_modules),
        "read_by": reader,
    }
