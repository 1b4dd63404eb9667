"""The option --labels: numbers, and the names that the model was trained with."""

import pytest

from fastdiff.cli.class_labels import classes_of
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import unet


@pytest.fixture
def named(monkeypatch):
    """A model with the names circle, Square and 7up."""
    monkeypatch.setattr("fastdiff.cli.class_labels.names_of", lambda model: ("circle", "Square", "7up"))
    return "model"


@pytest.mark.parametrize(
    "labels, classes",
    [
        (None, None),
        ("2", (2,)),
        ("circle", (0,)),
        ("square, CIRCLE, 7up", (1, 0, 2)),
        ("square,0,2", (1, 0, 2)),
    ],
)
def test_classes_are_numbers_or_names_in_any_case(labels, classes, named):
    assert classes_of(labels, 3, named) == classes


def test_a_wrong_name_is_answered_with_the_nearest(named):
    with pytest.raises(
        FastdiffError, match="--labels circel: no class of the model has this name, did you mean"
    ):
        classes_of("circel", 1, named)
    with pytest.raises(FastdiffError, match="--labels: 2 labels, expected 1 or n = 3"):
        classes_of("circle,square", 3, named)


def test_samples_of_a_name_are_those_of_its_number(tmp_path, fastdiff, refused):
    names = ("circle", "square")
    net = unet((1, 8, 8), 2, channels=(8,), layers=1)
    export(Denoiser(net, Cosine(), "v", (1, 8, 8)), tmp_path / "model", {"class_names": names})
    made = []
    for labels in ("square", "1"):
        out = tmp_path / f"{labels}.png"
        command = ("sample", tmp_path / "model", "--n", 2, "--steps", 1, "--labels", labels, "--out", out)
        assert fastdiff(*command)[0] == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]
    assert "did you mean square?" in refused("sample", tmp_path / "model", "--labels", "sqare")


def test_a_model_without_names_takes_numbers(tmp_path):
    with pytest.raises(FastdiffError, match="--labels circle: expected whole numbers"):
        classes_of("circle", 1, str(tmp_path))
