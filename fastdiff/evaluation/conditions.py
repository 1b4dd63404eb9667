"""The conditions of generated samples, taken from a data set."""

import torch

from ..core.denoiser import Cond, Denoiser
from ..data.batch import as_floats
from ..data.registry import Dataset
from ..samplers.generate import conditions


def dataset_conditions(model: Denoiser, dataset: Dataset, n: int) -> Cond:
    """Return the conditions of n samples: classes, captions and images of the data set, in its order."""
    rows = torch.arange(n) % len(dataset)
    labelled = model.classes is not None and dataset.labels is not None
    prompted = model.text and dataset.captions
    pictured = model.condition_channels and not model.base
    return conditions(
        model,
        n,
        dataset.labels[rows] if labelled else None,
        [dataset.captions[i] for i in rows.tolist()] if prompted else None,
        as_floats(dataset.image[rows]) if pictured else None,
    )
