"""Conditions of generated samples are the data's, in their order and round again."""

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.evaluation.conditions import dataset_conditions, sample_folds
from fastdiff.evaluation.evaluator import FOLDS
from fastdiff.evaluation.metrics.frechet import Statistics, at_infinity, frechet_distance
from fastdiff.networks import mlp, unet

IMAGES = torch.arange(3 * 4).view(3, 1, 2, 2).to(torch.uint8)


def test_classes_go_round():
    data = Dataset("dots", torch.randn(3, 2), torch.tensor([2, 0, 1]), 3)
    model = Denoiser(mlp((2,), 3, width=8), Flow(), "velocity", (2,))
    assert dataset_conditions(model, data, 5)["label"].tolist() == [2, 0, 1, 2, 0]
    assert not dataset_conditions(Denoiser(mlp((2,), width=8), Flow(), "velocity", (2,)), data, 5)
    assert not dataset_conditions(model, Dataset("dots", torch.randn(3, 2)), 5)


def test_images_are_those_that_the_model_refines():
    data = Dataset("few", torch.zeros(3, 1, 8, 8), image=IMAGES)
    net = unet((1, 8, 8), channels=(8, 8), layers=1, groups=4, image=1)
    cond = dataset_conditions(Denoiser(net, Flow(), "velocity", (1, 8, 8)), data, 4)
    assert torch.equal(cond["image"], IMAGES[[0, 1, 2, 0]] / 127.5 - 1)


def test_folds_have_the_classes_of_the_whole():
    labels = torch.arange(40) % 2  # by index, a fold would have a single class
    data = Dataset("dots", torch.randn(40, 2), labels, 2)
    model = Denoiser(mlp((2,), 2, width=8), Flow(), "velocity", (2,))
    folds = sample_folds(model, data, 80)
    counts = [labels.repeat(2)[folds == fold].bincount().tolist() for fold in range(FOLDS)]
    assert counts == [[10, 10]] * FOLDS
    free = Denoiser(mlp((2,), width=8), Flow(), "velocity", (2,))
    assert sample_folds(free, data, 80) is None
    assert sample_folds(model, Dataset("dots", torch.randn(40, 2)), 80) is None


def statistics(x):
    found = Statistics(x.shape[1])
    found.add(x)
    return found


def test_only_folds_by_class_lead_to_the_limit():
    """Samples of the data's own law and exact classes: half of their distance is theirs, half the data's."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (800,), generator=rng)
    centers = 5 * torch.randn(10, 8, generator=rng)
    data = Dataset("clusters", torch.zeros(800, 8), labels, 10)
    model = Denoiser(mlp((8,), 10, width=8), Flow(), "velocity", (8,))
    by_class, by_index = sample_folds(model, data, 800), torch.arange(800) % FOLDS
    found = []
    for _ in range(20):
        real, made = (centers[labels] + torch.randn(800, 8, generator=rng) for _ in range(2))
        limits = [
            at_infinity([statistics(made[folds == fold]) for fold in range(FOLDS)], statistics(real))
            for folds in (by_class, by_index)
        ]
        found.append([frechet_distance(statistics(made), statistics(real)), *limits])
    whole, right, wrong = torch.tensor(found).mean(0).tolist()
    assert abs(right - whole / 2) < 0.1 * whole and wrong < -whole
