"""The placement of a network: whole on every process, in shards (FSDP2), or in main memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.models.embeddings import GaussianFourierProjection
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..networks.own import module_of


def recompute(net: nn.Module) -> None:
    """Make a model recompute its activations in the backward pass (activation checkpointing).

    Raises:
        FastdiffError: if its network does not support this.
    """
    module = module_of(net.net) if isinstance(net, Denoiser) else None
    if module is None or not getattr(module, "_supports_gradient_checkpointing", False):
        raise FastdiffError(
            f"train.gradient_checkpointing: expected a unet, {type(module or net).__name__} does not "
            "support it; leave it out"
        )
    module.enable_gradient_checkpointing()


def halve(model: Denoiser) -> None:
    """Convert a frozen model's weights to bfloat16, in place; outputs keep the inputs' dtype.

    The frequencies of its time embedding are not converted. (Flux takes the time itself in the dtype of its
    weights.)
    """
    for layer in model.net.modules():
        if isinstance(layer, GaussianFourierProjection):
            continue
        for weight in layer.parameters(recurse=False):
            weight.data = weight.data.to(torch.bfloat16)


def offload(model: Denoiser, device: torch.device) -> None:
    """Keep a frozen model in main memory, and copy each layer to the device while it is evaluated.

    (accelerate's cpu_offload does the same, but fails together with networks under DDP.)
    """
    for layer in model.net.modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        stored = [tensor.data.cpu() for tensor in own]
        if device.type == "cuda":
            stored = [tensor.pin_memory() for tensor in stored]
        copy_while_evaluated(own, stored, layer, device)


def copy_while_evaluated(
    own: list[Tensor], stored: list[Tensor], layer: nn.Module, device: torch.device
) -> None:
    """Copy a layer's stored tensors to the device for its forward pass, and release the copies after it."""

    def fetch(*_: Any) -> None:
        for tensor, data in zip(own, stored):
            tensor.data = data.to(device, non_blocking=True)

    def release(*_: Any) -> None:
        for tensor, data in zip(own, stored):
            tensor.data = data

    release()
    layer.register_forward_pre_hook(fetch)
    layer.register_forward_hook(release)


def shard(model: Denoiser, device: torch.device, offloaded: bool = False) -> None:
    """Split a model's weights over all processes, in place (fully_shard); its outputs stay the same."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = CPUOffloadPolicy(pin_memory=device.type == "cuda") if offloaded else OffloadPolicy()
    for blocks in module_of(model.net).children():
        for block in blocks if isinstance(blocks, nn.ModuleList) else ():
            fully_shard(block, mesh=mesh, offload_policy=policy)
    # The root releases its weights after a pass too: only weights that are gathered again follow changes of
    # `requires_grad` from turn to turn.
    fully_shard(model.net, mesh=mesh, offload_policy=policy, reshard_after_forward=True)


def gather_shards(tensor: Tensor) -> Tensor:
    """Return a whole tensor from its shards; every process must call this at the same time."""
    return tensor.full_tensor() if is_shard(tensor) else tensor


def distribute(value: Tensor, place: Tensor) -> Tensor:
    """Return a whole tensor, equal on every process, split like `place` if that is a shard of its shape."""
    if not is_shard(place) or value.shape != place.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(place.device), place.device_mesh, place.placements, src_data_rank=None)


def is_shard(tensor: Tensor) -> bool:
    """Return whether a tensor is this process's shard of a larger one."""
    return hasattr(tensor, "full_tensor")


def data_parallel(net: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Wrap a network in DDP, which averages its gradients over the processes, if there are several.

    `accelerator.prepare` is not used: under mixed precision it replaces the network's `forward` by one with
    autocast, which would be on even where a method turns it off. The loop turns autocast on around the loss.
    """
    if accelerator.num_processes == 1:
        return net
    options = accelerator.ddp_handler.to_kwargs() if accelerator.ddp_handler else {}
    devices = [accelerator.device] if accelerator.device.type == "cuda" else None
    return DistributedDataParallel(net, device_ids=devices, **options)


@contextmanager
def unsynced(net: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Accumulate gradients without summing them over processes, within the context."""
    if isinstance(net, Denoiser) and hasattr(net.net, "set_requires_gradient_sync"):
        net.net.set_requires_gradient_sync(False)
        yield
        net.net.set_requires_gradient_sync(True)
    else:
        with accelerator.no_sync(net):
            yield
