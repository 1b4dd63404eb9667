"""Faster inference without other weights: lower precision, memory layout and compilation."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.public_arguments import takes_a_model
from ..core.wording import suggestion

Precision = Literal["no", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@takes_a_model
def tune(
    model: Denoiser, precision: Precision = "no", channels_last: bool = False, compile: bool = False
) -> Denoiser:
    """Speed up the network of a model for inference, in place; samples between evaluations stay float32.

    Args:
        model: model whose network is changed, or its path.
        precision: dtype of the network's autocast: "no" (unchanged), "bf16" or "fp16".
        channels_last: whether the weights of convolutions are stored with channels last, which is faster on
            GPUs at lower precision.
        compile: whether to use torch.compile, with CUDA graphs on a GPU; the first evaluation of each batch
            size then takes about a minute.

    Returns:
        The same model.

    Raises:
        FastdiffError: for an unknown precision.

    Example:
        >>> model = tune(load("runs/student", device="cuda"), precision="bf16", channels_last=True)
        >>> images = sample(model, steps=4, n=16)
    """
    net = model.net
    if precision not in ("no", *DTYPES):
        near = suggestion(precision, ["no", *DTYPES])
        raise FastdiffError(f"precision {precision!r} is unknown{near}")
    if channels_last:
        net.to(memory_format=torch.channels_last)
    if precision != "no":
        net.forward = torch.autocast(model.device.type, DTYPES[precision])(net.forward)
    if compile:
        gpu = model.device.type == "cuda"
        forward = torch.compile(net.forward, mode="reduce-overhead" if gpu else "default")
        net.forward = with_own_output(forward) if gpu else forward
    return model


def with_own_output(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that copies every output: a CUDA graph writes all of them to the same memory."""

    def run(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return forward(*inputs).clone()

    return run
