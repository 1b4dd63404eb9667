"""The conditions of generated samples, taken from a data set."""

import torch
from torch import LongTensor

from ..core.denoiser import Cond, Denoiser
from ..data.batch import as_floats
from ..data.registry import Dataset
from ..samplers.conditions import conditions
from .evaluator import folds_by_class


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


def is_conditional(model: Denoiser) -> bool:
    """Return whether a model's samples have conditions, which are those of the data."""
    return model.classes is not None or bool(model.text or model.condition_channels)


def sample_folds(model: Denoiser, dataset: Dataset, n: int) -> LongTensor | None:
    """Return the fold (n,) of each of n samples; None for folds by index.

    Samples that have the conditions of the data, and so its classes, are in folds by class.
    """
    if dataset.labels is None or not is_conditional(model):
        return None
    return folds_by_class(dataset.labels[torch.arange(n) % len(dataset)])
