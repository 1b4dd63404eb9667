"""Where a network lies: whole on every process, in shards over all of them (FSDP2), or in main memory until it is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.models.embeddings import GaussianFourierProjection
from torch import Tensor, nn

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError


def recompute(net: nn.Module) -> None:
    """Let a model's activations be computed again on the way back instead of kept (activation checkpointing)."""
    module = net.net.module if isinstance(net, Denoiser) else None
    if module is None or not getattr(module, "_supports_gradient_checkpointing", False):
        raise FastdiffError(
            f"train.gradient_checkpointing: {type(module or net).__name__} knows none, only unet does: "
            "leave it out"
        )
    module.enable_gradient_checkpointing()


def halve(model: Denoiser) -> None:
    """Keep a frozen model's weights in bfloat16, half of its memory; its answers come in the dtype that they are asked in.

    The frequencies of its time stay as they are. (Flux reads the time itself in the dtype of its weights.)
    """
    for layer in model.net.modules():
        for weight in (
            layer.parameters(recurse=False) if not isinstance(layer, GaussianFourierProjection) else ()
        ):
            weight.data = weight.data.to(torch.bfloat16)


def offload(model: Denoiser, device: torch.device) -> None:
    """Keep a frozen model in main memory; each of its layers visits the device when it is asked.

    (accelerate's cpu_offload does the same, and fails beside networks under DDP.)
    """
    for layer in model.net.modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        home = [
            tensor.data.cpu().pin_memory() if device.type == "cuda" else tensor.data.cpu() for tensor in own
        ]
        visit(own, home, layer, device)


def visit(own: list[Tensor], home: list[Tensor], layer: nn.Module, device: torch.device) -> None:
    """Let a layer's tensors be on a device while it works, and at home otherwise."""

    def go(*_: Any) -> None:
        for tensor, stored in zip(own, home):
            tensor.data = stored.to(device, non_blocking=True)

    def come(*_: Any) -> None:
        for tensor, stored in zip(own, home):
            tensor.data = stored

    come()
    layer.register_forward_pre_hook(go)
    layer.register_forward_hook(come)


def shard(model: Denoiser, device: torch.device, offloaded: bool = False) -> None:
    """Split a model's weights over all processes, in place; what is computed stays the same (torch's fully_shard)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = CPUOffloadPolicy(pin_memory=device.type == "cuda") if offloaded else OffloadPolicy()
    for blocks in model.net.module.children():
        for block in blocks if isinstance(blocks, nn.ModuleList) else ():
            fully_shard(block, mesh=mesh, offload_policy=policy)
    # The root too lets its weights go after a pass: only what is gathered anew follows `requires_grad`, turn
    # by turn.
    fully_shard(model.net, mesh=mesh, offload_policy=policy, reshard_after_forward=True)


def whole(tensor: Tensor) -> Tensor:
    """A tensor without shards; every process asks at once."""
    return tensor.full_tensor() if is_shard(tensor) else tensor


def laid(value: Tensor, place: Tensor) -> Tensor:
    """A whole tensor, alike on every process, in shards where another of its shape is."""
    if not is_shard(place) or value.shape != place.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(place.device), place.device_mesh, place.placements, src_data_rank=None)


def is_shard(tensor: Tensor) -> bool:
    """Whether a tensor is this process's part of one."""
    return hasattr(tensor, "full_tensor")


@contextmanager
def unsynced(net: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Inside, gradients stay this process's own: those of the last part of a batch are summed with theirs."""
    if isinstance(net, Denoiser) and hasattr(net.net, "set_requires_gradient_sync"):
        net.net.set_requires_gradient_sync(False)
        yield
        net.net.set_requires_gradient_sync(True)
    else:
        with accelerator.no_sync(net):
            yield
