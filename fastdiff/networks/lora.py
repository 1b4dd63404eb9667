"""Low-rank adapters (Hu et al. 2022): what a student learns beside its first weights, which stay as they are."""

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

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# What is adapted where nothing is named, by the kind of network; attention in all others.
TARGETS = {"unet": (*ATTENTION, "conv1", "conv2", "conv_shortcut", "time_emb_proj"), "mlp": ("blocks",)}
ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Pipelines whose load_lora_weights takes an adapter of a kind of network.
PIPELINES = {
    "text_unet": "StableDiffusionPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}


class Lora(Strict):
    """A low-rank adapter, the student's only weights that are trained. alpha: what it counts for, rank if not given.

    targets: parts of the names of the layers it is on, such as to_q; if none are given, attention, of unet
    convolutions too.
    """

    rank: Annotated[int, Field(ge=1, le=2**16)] = 64
    alpha: Annotated[float, Field(gt=0)] | None = None
    targets: tuple[str, ...] = ()


def installed() -> None:
    """Refuse adapters where peft is missing."""
    if not find_spec("peft"):
        raise FastdiffError("train.lora needs peft: pip install 'fastdiff[lora]'")


def adapt(model: Denoiser, spec: Lora) -> None:
    """Put an adapter, of which nothing is seen yet, on the model's network; its weights alone are left to be trained."""
    installed()
    from peft import LoraConfig, inject_adapter_in_model

    net = model.net.requires_grad_(False)
    layers = matching(net.module, spec.targets or TARGETS.get(net.kind, ATTENTION), bool(spec.targets))
    inject_adapter_in_model(
        LoraConfig(r=spec.rank, lora_alpha=spec.alpha or spec.rank, target_modules=layers), net.module
    )


def matching(module: nn.Module, targets: tuple[str, ...], all_of_them: bool) -> list[str]:
    """The layers in whose dotted name a target is a part, such as to_q, to_out.0 or mid_block."""
    layers = [name for name, layer in module.named_modules() if isinstance(layer, ADAPTABLE)]
    found = {target: [name for name in layers if f".{target}." in f".{name}."] for target in targets}
    missing = [target for target in targets if not found[target]]
    if missing and (all_of_them or len(missing) == len(targets)):
        parts = {part for name in layers for part in name.split(".") if not part.isdigit()}
        raise FastdiffError(
            f"train.lora.targets: no layer of the network is called {missing[0]}"
            f"{suggestion(missing[0], parts)}"
        )
    return [name for name in layers if any(name in own for own in found.values())]


def twin(model: Denoiser) -> Denoiser:
    """A copy that has the weights which are not trained in common with the model, in one memory."""
    return deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})


def adapted(module: nn.Module) -> bool:
    """Whether there is an adapter on a network's module."""
    return hasattr(module, "peft_config")


def merged(module: nn.Module) -> nn.Module:
    """A copy of a network's module with its adapter, where there is one, in its own weights."""
    module = deepcopy(module)
    for name, layer in list(module.named_modules()) if adapted(module) else ():
        if hasattr(layer, "base_layer"):
            layer.merge()
            module.set_submodule(name, layer.get_base_layer())
    module.__dict__.pop("peft_config", None)
    return module


def save(net: nn.Module, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Write a network's adapter as those read it who load one; its alpha is its rank there. Returns what it is."""
    import diffusers
    from peft import get_peft_model_state_dict

    config, pipeline = net.module.peft_config["default"], PIPELINES.get(net.kind)
    size = {"lora_B": config.lora_alpha / config.r, "lora_A": 1.0}
    layers = {
        name: (value * size[name.split(".")[-2]]).cpu().type(dtype).contiguous()
        for name, value in get_peft_model_state_dict(net.module).items()
    }
    if pipeline:
        getattr(diffusers, pipeline).save_lora_weights(folder, **{f"{net.folder}_lora_layers": layers})
    else:
        plain = copy(config)
        plain.lora_alpha, plain.target_modules = config.r, sorted(config.target_modules)
        plain.save_pretrained(str(folder))
        save_file(
            {f"base_model.model.{name}": value for name, value in layers.items()},
            folder / "adapter_model.safetensors",
            {"format": "pt"},
        )
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "layers": len(config.target_modules),
        "read_by": f"diffusers {pipeline}.load_lora_weights"
        if pipeline
        else "peft PeftModel.from_pretrained",
    }
