"""The first recipe for a data set: it fits the data, the time and the machine, and is short."""

import pytest
import torch
import yaml

from fastdiff.core.errors import FastdiffError
from fastdiff.data.dataset import Dataset
from fastdiff.runs import first_recipe as first
from fastdiff.runs.recipe import build
from tests.helpers.images import picture, save


@pytest.fixture
def machine(monkeypatch):
    """A machine whose training step takes a microsecond for each parameter."""

    def seconds(method, model, batch):
        return (1 if method == "denoising" else 2) * sum(p.numel() for p in model.net.parameters()) * 1e-6

    monkeypatch.setattr(first, "step_seconds", seconds)


@pytest.fixture
def shapes(tmp_path):
    """Coloured pictures of several sizes in two class folders."""
    for kind in range(2):
        for seed in range(3):
            save(tmp_path / f"my shapes/kind{kind}/{seed}.png", picture(40 + seed, 36, 3 * kind + seed))
    return tmp_path / "my shapes"


def settings(text):
    return yaml.safe_load(text)


def test_a_recipe_of_eight_lines_fits_folders_of_classes(machine, shapes):
    text = first.first_recipe(str(shapes), minutes=10, path="mine.yaml")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == 8 and "# 6 images of 36 x 36, 2 classes" in text and "fastdiff run mine.yaml" in text
    source = settings(text)
    assert source["name"] == "my_shapes" and source["model"]["labels"] is True
    assert source["data"] == {"name": str(shapes), "resolution": 36}
    assert source["train"]["batch"] == 6 and source["bench"]["extractor"] == "pixels"
    recipe = build(source)
    assert [stage.name for stage in recipe.stages] == ["teacher", *(f"progressive-{n}" for n in (4, 2, 1))]
    recipe.fresh_model(recipe.dataset(), "meta")


def test_the_network_and_the_steps_fit_the_time(machine):
    def planned(minutes):
        return settings(first.first_recipe("digits", minutes))

    short, long = planned(1), planned(200)
    widths = [source["model"]["net"]["channels"][0] for source in (short, long)]
    assert widths[0] == first.WIDTHS[0] < widths[1]
    for minutes, source in ((1, short), (200, long)):
        params = sum(p.numel() for p in build(source).fresh_model(build(source).dataset()).net.parameters())
        teacher = source["stages"]["teacher"]["train"]["steps"] * params * 1e-6
        student = 3 * source["stages"]["progressive"]["train"]["steps"] * 2 * params * 1e-6
        assert 0.6 * minutes * 60 < teacher + student <= 0.8 * minutes * 60
    assert long["stages"]["teacher"]["train"]["steps"] >= first.WANTED_STEPS
    assert short["bench"]["n"] < long["bench"]["n"] and "extractor" not in short["bench"]
    assert short["name"] == "digits_data"  # checkpoints/digits is shipped


def test_grey_images_are_read_as_grey_and_images_without_folders_have_no_labels(machine, tmp_path):
    for seed in range(2):
        save(tmp_path / f"{seed}.png", picture(8, 8, seed).convert("L"))
    source = settings(first.first_recipe(str(tmp_path)))
    assert source["data"]["colour"] == "grey" and "labels" not in source["model"]
    assert settings(first.first_recipe(str(tmp_path), colour="rgb", resolution=4))["data"] == {
        "name": str(tmp_path), "resolution": 4, "colour": "rgb",
    }  # fmt: skip


def test_vectors_get_a_perceptron(machine):
    source = settings(first.first_recipe("toy"))
    assert source["model"]["net"]["name"] == "mlp" and build(source).bench.extractor is None


@pytest.mark.parametrize(
    "side, expected", [(3, 3), (8, 8), (28, 28), (30, 16), (64, 64), (65, 64), (900, 64)]
)
def test_sides_can_be_halved(side, expected):
    assert first.side_for(side) == expected


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 28), (3, 8, 8), (3, 3, 3), (3, 32, 48)])
def test_all_networks_fit_the_shape(shape):
    few = Dataset("few", torch.zeros(2, *shape, dtype=torch.uint8))
    sizes = []
    for net in first.networks_for(shape):
        source = {
            "name": "x",
            "data": "digits",
            "model": {"net": net},
            "stages": {"teacher": {"method": "denoising"}},
        }
        model = build(source).fresh_model(few, "meta")
        sizes.append(sum(p.numel() for p in model.net.parameters()))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 10


def test_a_step_is_timed():
    source = {
        "name": "x",
        "data": "toy",
        "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
        "stages": {"teacher": {"method": "denoising"}},
    }
    model = build(source).fresh_model(build(source).dataset())
    assert all(0 < first.step_seconds(method, model, 4) < 60 for method in ("denoising", "progressive"))


def test_what_no_recipe_can_be_written_for(machine):
    with pytest.raises(FastdiffError, match="minutes = 0: expected a time above 0"):
        first.first_recipe("digits", 0)
    with pytest.raises(FastdiffError, match="no such file or folder"):
        first.first_recipe("./nosuch")
    with pytest.raises(FastdiffError, match="shape"):
        first.first_recipe("nothing")


@pytest.mark.parametrize("number, expected", [(1.9, 1), (99, 99), (101, 100), (128, 120), (4567, 4500)])
def test_numbers_are_rounded_down_to_two_digits(number, expected):
    assert first.rounded(number) == expected
