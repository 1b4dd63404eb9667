"""The classifier that recipes/cifar10_features.py trains on a folder of one's own images."""

import json
import runpy
import sys

import pytest
import torch

from fastdiff.evaluation.metrics.extractors import open_extractor
from tests.helpers.images import picture

SCRIPT = "recipes/cifar10_features.py"


def train(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


@pytest.fixture
def shapes(tmp_path):
    """Ten pictures in each of two class folders, without splits."""
    for kind in range(2):
        folder = tmp_path / "my shapes" / f"kind{kind}"
        folder.mkdir(parents=True)
        for seed in range(10):
            picture(16, 16, 10 * kind + seed).save(folder / f"{seed}.png")
    return tmp_path / "my shapes"


def test_a_folder_without_splits_is_divided_and_gives_the_figures_its_name(shapes, monkeypatch, tmp_path):
    train(monkeypatch, shapes, tmp_path / "out", "--size", 16, "--epochs", 2)
    info = json.loads((tmp_path / "out/features.json").read_text())
    assert info["name"] == "my_shapes_rgb16" and info["classes"] == 2
    assert info["trained_on"] == "my_shapes, 16 training images of 16 x 16, rgb"
    net = open_extractor(str(tmp_path / "out"), "cpu")
    assert net.named("fd") == "fd_my_shapes_rgb16"
    assert net(torch.zeros(3, 3, 16, 16))["logits"].shape == (3, 2)


def test_images_without_classes_are_refused_in_one_line(shapes, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        train(monkeypatch, shapes / "kind0", tmp_path / "out")
    last = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and last.endswith("no labels: expected a subfolder or a label for each class")
