"""What x is conditioned on, and free shapes: super-resolution, colourisation, segmentation, cascades; sound, video."""

import shutil
from copy import deepcopy

import datasets
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import SCHEDULES, Cosine
from fastdiff.data.conditioning import Grey, Low
from fastdiff.data.dataset import Dataset, batch_at
from fastdiff.data.registry import open_dataset
from fastdiff.data.toys import digits
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import load
from fastdiff.methods import METHODS, Progress
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training

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


# ---- data


def test_low_is_the_mean_of_what_lies_behind_a_pixel():
    data = digits(image=Low(4))
    blocks = data.examples.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert data.image.shape == (1797, 1, 4, 4) and (data.image.float() - blocks).abs().max() <= 0.5
    assert torch.equal(data.image, digits(size=4).examples)


def test_grey_keeps_grey_as_it_is():
    grey = torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8)
    assert (Grey()(grey.expand(-1, 3, -1, -1)).int() - grey.int()).abs().max() <= 1


def test_a_condition_is_mirrored_with_its_example():
    data = digits(image=Low(4))
    straight, mirrored = (batch_at(data, 0, 64, seed=5, flip=flip) for flip in (False, True))
    turned = (straight.x0 != mirrored.x0).flatten(1).any(1)
    assert 10 < turned.sum() < 54
    assert torch.equal(mirrored.cond["image"][turned], straight.cond["image"][turned].flip(-1))
    assert torch.equal(mirrored.cond["image"][~turned], straight.cond["image"][~turned])
    assert straight.cond["image"].min() >= -1 and straight.cond["image"].max() <= 1


def test_a_column_of_a_table_is_the_condition_and_others_are_captions(tmp_path):
    masks = [Image.new("L", (8, 8), 40 * i) for i in range(4)]
    photos = [Image.new("RGB", (8, 8), (i, 2 * i, 200)) for i in range(4)]
    kinds = datasets.Features(
        {"mask": datasets.Image(), "photo": datasets.Image(), "words": datasets.Value("string")}
    )
    rows = {"mask": masks, "photo": photos, "words": ["a", "b", "c", "d"]}
    datasets.Dataset.from_dict(rows, kinds).to_parquet(tmp_path / "train.parquet")
    data = open_dataset(
        "parquet", path=str(tmp_path), column="mask", image_column="photo", captions="a mask of {words}"
    )
    assert data.image.shape == (4, 3, 8, 8) and data.image[3, :, 0, 0].tolist() == [3, 6, 200]
    assert data.captions == ("a mask of a", "a mask of b", "a mask of c", "a mask of d")
    assert batch_at(data, 0, 4, seed=0).cond["image"].shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image": Low(3)}, "image: low, size 3: expected a divisor of 8 x 8"),
        ({"image": Grey()}, "image: grey: expected images of three channels, the data have 1"),
        ({"captions": "{word}"}, "captions: {word} is unknown, choose from class"),
    ],
)
def test_conditions_that_the_data_do_not_have(options, line):
    with pytest.raises(FastdiffError, match=line.replace("{", r"\{")):
        digits(**options)


# ---- models that refine an image, and cascades


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
        ({}, "is conditioned on an image: give one"),
        ({"image": image[:2]}, "image: 2 of them for n = 5"),
        ({"image": torch.zeros(5, 3, 4, 4)}, r"conditioned on images \(n, 1, H, W\)"),
    ):
        with pytest.raises(FastdiffError, match=line):
            sample(model, steps=2, n=5, **wrong)


def test_the_command_line_refines_an_image(cascade, fastdiff, refused, tmp_path):
    Image.new("L", (4, 4), 128).save(tmp_path / "low.png")
    assert (
        fastdiff(
            "sample",
            cascade / "teacher",
            "--condition",
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
        "--condition",
        tmp_path / "low.png",
        "--out",
        tmp_path / "o.png",
    )
    assert "this model is conditioned on no image" in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"data": {"name": "digits", "image": {"name": "low", "size": 2}}},
            r"base: small makes \(1, 4, 4\), and this model learns from \(1, 2, 2\)",
        ),
        ({"data": {"name": "digits"}}, "is conditioned on images of 1 channels, the data digits bring none"),
        (
            {"model": CASCADE["model"] | {"net": TINY}},
            "cascade.base: this model is conditioned on no image: set `image`",
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
            "stages.x.model: a stage has a model of its own where it has data",
        ),
        ({"method": "denoising", "data": {"name": "digits", "width": 3}}, "stages.x.data.width is unknown"),
        (
            {"method": "denoising", "data": {"name": "digits"}, "model": {"nets": "unet"}},
            "stages.x.model.nets is unknown",
        ),
        (
            {"method": "denoising", "base": "nobody"},
            "stages.x.base: 'nobody' is no earlier stage and no path",
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
    with pytest.raises(FastdiffError, match="base is not the model that it stands on"):
        load(tmp_path / "copy")


def test_a_stream_brings_no_image(tmp_path):
    for number in range(8):
        Image.new("L", (8, 8), 30 * number).save(tmp_path / f"{number}.png")
    with pytest.raises(
        FastdiffError, match="its network is conditioned on images of 1 channels, the data .* bring none"
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


# ---- shapes


class Filter(nn.Module):
    """A convolution over however many axes."""

    null_label, learned_variance = None, False

    def __init__(self, axes, channels=2):
        super().__init__()
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.inner, self.last = kind(channels, 8, 3, padding=1), kind(8, channels, 3, padding=1)
        self.time, self.gap = nn.Linear(1, 8), nn.Linear(1, 8, bias=False)

    def forward(self, x, t, s=None, cond=None):
        times = self.time(t[:, None] / 1000) + self.gap((t - (t if s is None else s))[:, None] / 1000)
        return self.last(torch.tanh(self.inner(x) + times.reshape(len(x), 8, *[1] * (x.ndim - 2))))

    def with_second_time(self):
        return self


SHAPES = {"vectors": (6,), "sound": (2, 12), "images": (2, 6, 6), "video": (2, 3, 4, 4)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("schedule", ["cosine", "flow", "ddpm"])
def test_samplers_walk_any_shape_to_the_same_place(shape, schedule):
    """A Gaussian's numbers are independent: samples of one shape are those of another, reshaped."""
    schedule, size = SCHEDULES[schedule](), int(torch.tensor(shape).prod())
    mean = torch.linspace(-1, 1, size)
    for name, draw in SAMPLERS.items():
        if draw.traits.noise != "none":
            continue
        exact = [
            GaussianMixture(mean.reshape(1, *of), torch.tensor([0.3]), torch.ones(1), schedule)
            for of in (shape, (size,))
        ]
        made = [sample(model, name, steps=4, n=3, spacing="uniform").flatten(1) for model in exact]
        torch.testing.assert_close(*made, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("shape", [SHAPES["sound"], SHAPES["video"]], ids=["sound", "video"])
@pytest.mark.parametrize(
    "method",
    [
        "denoising",
        "progressive",
        "ect",
        "cd",
        "ict",
        "ctm",
        "scd",
        "imm",
        "sct",
        "meanflow",
        "shortcut",
        "dmd2",
        "sida",
        "f_distill",
        "diff_instruct",
        "ladd",
        "add",
    ],
)
def test_methods_and_loop_train_any_shape(shape, method, tmp_path):
    torch.manual_seed(0)
    data = Dataset("waves", torch.randn(32, *shape))
    how = METHODS[method]()
    if getattr(how, "gan", None) and how.gan.weight:
        how.gan = how.gan.model_copy(update={"features": ("inner",)})  # 8 channels, beside any number of axes
    model, teacher = (Denoiser(Filter(len(shape) - 1), Cosine(), "v", shape) for _ in range(2))
    config = TrainConfig(steps=2 * how.cycle, batch=8, log_every=1)
    training = Training(
        how, Progress, how.student(model), teacher, data, config, tmp_path, Accelerator(cpu=True)
    )
    losses = [value for _, logs in training for name, value in logs.items() if name.endswith("loss")]
    assert len(losses) >= 2 and all(loss == loss for loss in losses)  # not NaN
    assert "critic" not in training.trained or training.trained["critic"].heads[0][0].normalized_shape == (8,)
    assert sample(
        training.result(), "consistency" if method in ("ect", "cd") else "ddim", steps=2, n=3
    ).shape == (3, *shape)
