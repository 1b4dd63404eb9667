"""Data for evaluators, and what they make of images."""

import torch

from fastdiff.data.registry import Dataset
from fastdiff.evaluation.metrics.frechet import Statistics

FEATURES = "checkpoints/digits/features"


def data(images, labels=None, name="digits"):
    return Dataset(name, images, labels, 0 if labels is None else 10)


def statistics(features):
    out = Statistics(features.shape[1])
    out.add(features)
    return out


def judged(evaluator, images, accelerator, batch=90, labels=None):
    for rows in torch.arange(len(images)).split(batch):
        evaluator.add(rows, images[rows], None if labels is None else labels[rows])
    return evaluator.result(accelerator)
