"""The sample command: sheets, folders, points, and samples that cannot be."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.io.load import load

# ---- sample


def test_sample_a_sheet(images, fastdiff, tmp_path):
    code, out, err = fastdiff("sample", images, "--n", 6, "--out", tmp_path / "new/sheet.png")
    assert (code, out, err) == (0, f"6 samples in {tmp_path / 'new/sheet.png'}\n", "")
    sheet = Image.open(tmp_path / "new/sheet.png")
    assert (sheet.size, sheet.mode) == ((272, 416), "L")  # 2 x 3 images of 8 x 8, 1 apart, 16 times as large
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_sample_a_folder(images, fastdiff, tmp_path):
    words = [
        "sample",
        images,
        "--n",
        3,
        "--steps",
        3,
        "--labels",
        "1,2,3",
        "--guidance",
        2,
        "--batch",
        2,
        "--seed",
        5,
    ]
    assert fastdiff(*words, "--out", tmp_path / "one")[0] == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]
    from fastdiff.data.image_grid import picture as drawn
    from fastdiff.samplers.generate import sample

    x = sample(load(images), steps=3, n=3, seed=5, labels=torch.tensor([1, 2, 3]), guidance=2.0)
    for i, image in enumerate(x):
        found = Image.open(tmp_path / f"one/{i:06d}.png")
        assert found.size == (8, 8) and np.array_equal(
            np.array(found), np.array(drawn(image[None], columns=1))
        )


def test_sample_points(finished, fastdiff, tmp_path):
    words = ["sample", finished[1] / "teacher", "--sampler", "ddpm", "--steps", 2, "--n", 5]
    assert fastdiff(*words, "--out", tmp_path / "points.PNG")[0] == 0
    assert Image.open(tmp_path / "points.PNG").size == (240, 240)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--steps", 0], "steps"),
        (["--steps", 5], "this model was trained for ddim at 2 or 3 steps, not for ddim at 5"),
        (["--sampler", "ddmi"], "sampler 'ddmi' is unknown, did you mean dd"),
        (["--sampler", "ddpm"], "not for ddpm at 2"),
        (["--spacing", "cubic"], "spacing 'cubic' is unknown, choose from uniform"),
        (["--n", 0], "--n 0: expected at least 1"),
        (["--batch", 0], "--batch 0: expected at least 1"),
        (["--labels", "seven"], "--labels seven: expected whole numbers separated by commas"),
        (["--labels", ""], "--labels : expected whole numbers separated by commas"),
        (["--labels", "1,2"], "--labels: 2 labels, expected 1 or n = 64"),
        (["--labels", "10"], "labels: expected 0 to 9, got 10 to 10"),
        (["--labels", "-1"], "labels: expected 0 to 9"),
        (["--guidance", 3], "guidance = 3.0 needs labels"),
    ],
)
def test_samples_that_cannot_be(words, message, images, refused, tmp_path):
    assert message in refused("sample", images, "--out", tmp_path / "x.png", *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.png", "x", "x/y.png"])
def test_unwritable_samples(name, images, refused, tmp_path):
    (tmp_path / "file.txt").write_text("")
    out = tmp_path / "file.txt" / name
    assert f"--out {out}: cannot be written" in refused("sample", images, "--n", 1, "--out", out)


# ---- models


def test_folders_that_are_no_model(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refused("sample", tmp_path / "nosuch")
    assert "no such folder" in refused("sample", "nosuch")
    assert "not a model" in refused("sample", tmp_path / "empty")
    assert "not a model" in refused("bench", tmp_path / "empty", "--data", "toy", "--out", tmp_path / "out")
    assert "not a model" in refused("export", tmp_path / "empty", "--out", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_damaged_models(images, refused, tmp_path):
    def damaged(name, data):
        for path in images.rglob("*"):
            copied = tmp_path / "model" / path.relative_to(images)
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                copied.write_bytes(data(path.read_bytes()) if path.name == name else path.read_bytes())
        return tmp_path / "model"

    weights = next(images.rglob("*.safetensors")).name
    assert "damaged weights" in refused("sample", damaged(weights, lambda data: data[:-1]))
    assert "damaged weights" in refused("sample", damaged(weights, lambda data: b""))
    assert "is damaged" in refused("sample", damaged("fastdiff.json", lambda data: data[:-9]))
    assert "is damaged" in refused("sample", damaged("fastdiff.json", lambda data: b"{}"))
    next((tmp_path / "model").rglob("*.safetensors")).unlink()
    (tmp_path / "model/fastdiff.json").write_bytes((images / "fastdiff.json").read_bytes())
    assert "is missing its weights" in refused("sample", tmp_path / "model")


def test_settings_of_guidance_are_read(pictures, fastdiff, tmp_path):
    out = tmp_path / "x.png"
    words = ["sample", pictures, "--n", 1, "--steps", 1, "--out", out]
    contrasts = []
    for bound in (0.5, 0.1):
        assert fastdiff(*words, "--guide", f"clip={bound}")[0] == 0
        contrasts.append(np.asarray(Image.open(out)).std())
    assert contrasts[1] < contrasts[0]


@pytest.mark.parametrize("name", ["a.jpg", "a.TIFF", "a.jp2", "a.svg", "a.avif"])
def test_other_pictures_than_png_are_refused(images, refused, tmp_path, name):
    assert "expected a .png for one sheet, or a folder" in refused("sample", images, "--out", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_pictures_of_earlier_samples_do_not_stay_beside_new_ones(images, fastdiff, refused, tmp_path):
    words = ["sample", images, "--out", tmp_path / "run.v2", "--n"]  # a folder, though it has a suffix
    assert fastdiff(*words, 3)[0] == 0
    assert "1 pictures of earlier samples would stay among the 2 new ones; empty" in refused(*words, 2)
    assert fastdiff(*words, 3)[0] == 0 and len(list((tmp_path / "run.v2").iterdir())) == 3


def test_a_name_that_no_file_can_have(images, refused):
    assert "cannot be written (File name too long)" in refused("sample", images, "--out", "x" * 5000)
    assert "cannot be a path (File name too long)" in refused("sample", "x" * 5000)


def test_a_negative_prompt_for_a_model_without_prompts_is_refused(refused):
    said = refused("sample", "checkpoints/digits/progressive-1", "--negative-prompt", "fog", "-n", 1)
    assert "negative_prompts: this model takes no prompts; leave them out" in said
