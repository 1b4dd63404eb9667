"""Cascades: stages that refine an image, and what is refused of them."""

import shutil
from copy import deepcopy

import pytest
import torch
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import load
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.generate import sample

pytestmark = pytest.mark.long

TINY = {"name": "unet", "channels": [16, 16], "layers": 1}


CASCADE = {
    "name": "large",
    "data": {"name": "digits", "image": {"name": "low", "size": 4}},
    "model": {"net": TINY | {"image": 1}, "schedule": "cosine"},
    "train": {"batch": 16, "steps": 2},
    "stages": {
        "low": {"method": "denoising", "data": {"name": "digits", "size": 4}, "model": {"net": TINY}},
        "small": {"method": "ect", "data": {"name": "digits", "size": 4}, "init": "low"},
        "teacher": {"method": "denoising"},
        "cascade": {"method": "ect", "init": "teacher", "base": "small"},
    },
    "bench": {"steps": [1, 2], "baselines": [], "n": 64, "batch": 64},
}


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    """A run that draws digits at 4 x 4, and refines them."""
    return stages.run(recipe.build(CASCADE), tmp_path_factory.mktemp("run"))


def test_a_cascade_runs_as_one_model(cascade):
    model = load(cascade / "cascade")
    assert model.base.shape == (1, 4, 4) and model.shape == (1, 8, 8)
    made = sample(model, steps=2, n=6, seed=1)
    alone = sample(model, steps=2, n=6, seed=1, image=sample(load(cascade / "small"), n=6, seed=1 ^ 0xBA5E))
    torch.testing.assert_close(made, alone, rtol=0, atol=1e-5)
    assert deepcopy(model).base is model.base
    rows = {(row["model"], row["steps"]): row for row in read_rows(cascade / "bench.jsonl")}
    assert (
        rows["cascade", 2]["nfe"] == 3 and rows["teacher", 2]["nfe"] == 2
    )  # the base's single step is counted too


def test_the_teacher_of_a_cascade_refines_the_images_it_is_given(cascade):
    model, image = load(cascade / "teacher"), torch.rand(5, 1, 4, 4) * 2 - 1
    assert sample(model, steps=2, n=5, image=image).shape == (5, 1, 8, 8)
    for wrong, line in (
        ({}, "is conditioned on an image; give one"),
        ({"image": image[:2]}, "image: 2 of them for n = 5"),
        ({"image": torch.zeros(5, 3, 4, 4)}, r"expected shape \(n, 1, H, W\)"),
    ):
        with pytest.raises(FastdiffError, match=line):
            sample(model, steps=2, n=5, **wrong)


def test_the_command_line_refines_an_image(cascade, fastdiff, refused, tmp_path):
    Image.new("L", (4, 4), 128).save(tmp_path / "low.png")
    assert (
        fastdiff(
            "sample",
            cascade / "teacher",
            "--condition-image",
            tmp_path / "low.png",
            "-n",
            3,
            "--steps",
            2,
            "--out",
            tmp_path / "out.png",
        )[0]
        == 0
    )
    assert "is conditioned on an image" in refused(
        "sample", cascade / "teacher", "--out", tmp_path / "out.png"
    )
    said = refused(
        "sample",
        "checkpoints/digits/teacher",
        "--condition-image",
        tmp_path / "low.png",
        "--out",
        tmp_path / "o.png",
    )
    assert "this model takes no condition image" in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"data": {"name": "digits", "image": {"name": "low", "size": 2}}},
            r"base: small generates \(1, 4, 4\), expected \(1, 2, 2\)",
        ),
        ({"data": {"name": "digits"}}, "is conditioned on images of 1 channels, the data digits have no"),
        (
            {"model": CASCADE["model"] | {"net": TINY}},
            "cascade.base: this model has no conditioning image; set `image`",
        ),
    ],
)
def test_a_cascade_that_does_not_fit_is_refused_before_it_is_trained(cascade, change, line, tmp_path):
    shutil.copytree(cascade / "small", tmp_path / "small")
    source = CASCADE | change
    source["stages"] = {"cascade": {"method": "denoising", "base": str(tmp_path / "small")}}
    with pytest.raises(FastdiffError, match=line.replace("base: small", "base: .*small")):
        stages.run(recipe.build(source), tmp_path / "run")
    assert not (tmp_path / "run/cascade/log.jsonl").exists()


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        (
            {"method": "denoising", "model": {"net": TINY}},
            "stages.x.model: only a stage with its own data set",
        ),
        ({"method": "denoising", "data": {"name": "digits", "width": 3}}, "stages.x.data.width is unknown"),
        (
            {"method": "denoising", "data": {"name": "digits"}, "model": {"nets": "unet"}},
            "stages.x.model.nets is unknown",
        ),
        (
            {"method": "denoising", "base": "nobody"},
            "stages.x.base: 'nobody' is neither an earlier stage nor a path",
        ),
    ],
)
def test_keys_of_cascades_are_checked(stage, line):
    with pytest.raises(FastdiffError, match=line):
        recipe.build(CASCADE | {"stages": {"x": stage}})


def test_a_base_that_was_changed_for_another_is_refused(cascade, tmp_path):
    shutil.copytree(cascade / "cascade", tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/base")
    shutil.copytree(cascade / "low", tmp_path / "copy/base")
    with pytest.raises(FastdiffError, match="base is not the base model that"):
        load(tmp_path / "copy")


def test_a_stream_brings_no_image(tmp_path):
    for number in range(8):
        Image.new("L", (8, 8), 30 * number).save(tmp_path / f"{number}.png")
    with pytest.raises(
        FastdiffError, match="its network is conditioned on images of 1 channels, the data .* have no"
    ):
        stages.run(
            recipe.build(
                CASCADE
                | {
                    "data": {"name": "stream", "path": str(tmp_path), "resolution": 8, "colour": "grey"},
                    "stages": {"teacher": {"method": "denoising"}},
                    "bench": {"models": [], "extractor": "checkpoints/digits/features"},
                }
            ),
            tmp_path / "run",
        )
