"""Ways to run a network faster that keep what it computes: lower precision, memory layout, compilation."""

from typing import Literal

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError

Precision = Literal["no", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def tune(
    model: Denoiser, precision: Precision = "no", channels_last: bool = False, compile: bool = False
) -> Denoiser:
    """The same model, its network made faster in place; the state between evaluations stays float32.

    precision: of the network's autocast. channels_last: for convolutions. compile: torch.compile, with CUDA
    graphs on a GPU; the first evaluation of each batch size then takes a minute.
    """
    net = model.net
    if precision not in ("no", *DTYPES):
        raise FastdiffError(f"precision {precision!r} is unknown, choose from no, {', '.join(DTYPES)}")
    if channels_last:
        net.to(memory_format=torch.channels_last)
    if precision != "no":
        net.forward = torch.autocast(model.device.type, DTYPES[precision])(net.forward)
    if compile:
        gpu = model.device.type == "cuda"
        forward = torch.compile(net.forward, mode="reduce-overhead" if gpu else "default")
        net.forward = owned(forward) if gpu else forward
    return model


def owned(forward):
    """A CUDA graph writes every output to the same memory: keep each as a tensor of its own."""

    def run(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return forward(*inputs).clone()

    return run
