"""The likelihood of a data set under a model, a column of the benchmark."""

import torch
from accelerate import Accelerator

from ..core.denoiser import Denoiser
from ..data.registry import Dataset
from ..samplers.likelihood import nll

JUMP_SAMPLERS = ("consistency", "gamma")  # samplers that jump between times instead of solving an ODE


def likelihood(
    model: Denoiser, dataset: Dataset, n: int, batch: int, accelerator: Accelerator
) -> float | None:
    """Return the bits per dimension of the first n examples of a data set under a model, without guidance.

    Args:
        model: model of the data.
        dataset: data set.
        n: number of examples, at most the whole data set.
        batch: examples per batch on each process.
        accelerator: accelerator of this process; the processes divide the examples.

    Returns:
        The mean; None for a student that jumps between times instead of solving an ODE, for a model with
        conditions other than classes, and for a model that takes a guidance weight but was not trained for 1.
    """
    if model.sampling.only or model.sampling.sampler in JUMP_SAMPLERS:
        return None
    if model.latent or model.text or model.condition_channels:
        return None
    if model.guidance and not model.guidance[0] <= 1 <= model.guidance[1]:
        return None
    device = accelerator.device
    n = min(n, len(dataset))
    indices = torch.arange(n)[accelerator.process_index :: accelerator.num_processes]
    labelled = model.classes is not None
    levels = 256 if dataset.examples.dtype == torch.uint8 else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for rows in indices.split(batch):
        x0, known = dataset.get(rows)
        cond = {name: value.to(device) for name, value in known.items()} if labelled and known else None
        total += nll(model, x0.to(device), cond=cond, levels=levels, indices=rows).double().sum()
    return float(accelerator.reduce(total)) / n
