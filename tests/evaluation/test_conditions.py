"""Conditions of generated samples are the data's, in their order and round again."""

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.evaluation.conditions import dataset_conditions
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
