"""The recipes of CIFAR-10 on a CPU: the small one cut to 200 steps,
on pictures that are drawn from the digits."""

import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from fastdiff.cli.features import features
from fastdiff.data.dataset import Dataset
from fastdiff.data.toys import digits
from fastdiff.evaluation.metrics.extractors import open_extractor
from fastdiff.io.load import load
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.rows import model_rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """train.parquet and test.parquet with the columns of CIFAR-10: digits of 32 x 32,
    each class in a colour of its own."""
    folder, data = tmp_path_factory.mktemp("pictures"), digits()
    large = interpolate(data.examples.float(), 32, mode="bilinear")[:, 0] / 255
    colours = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    drawn = (255 * large[..., None] * colours[data.labels][:, None, None]).byte().numpy()
    kinds = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=[f"kind{i}" for i in range(10)])}
    )
    for split, rows in (("train", range(512)), ("test", range(512, 768))):
        shown = [Image.fromarray(np.ascontiguousarray(drawn[i])) for i in rows]
        table = {"img": shown, "label": data.labels[list(rows)].tolist()}
        datasets.Dataset.from_dict(table, kinds).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def judge(pictures, tmp_path_factory):
    """What `fastdiff features` makes of them in eight epochs."""
    out = tmp_path_factory.mktemp("features") / "out"
    features(str(pictures), out, epochs=8, name="cifar10")
    return out


def test_the_classifier_is_an_extractor_and_says_how_often_it_is_right(judge):
    said, net = json.loads((judge / "features.json").read_text()), open_extractor(str(judge), "cpu")
    assert said["test_accuracy"] > 0.3 and said["name"] == "cifar10" and net.named("fd") == "fd_cifar10"
    found = net(torch.rand(3, 3, 32, 32) * 2 - 1)
    assert found["features"].shape == (3, 128) and found["logits"].shape == (3, 10)


def test_the_small_recipe_runs_on_a_cpu(pictures, judge, tmp_path):
    steps = {"teacher": 110, "progressive": "[10, 10]", "consistency": 40, "meanflow": 30}
    small = recipe.load(
        "recipes/cifar10-small.yaml",
        [
            "data.name=parquet",
            f"data.path={pictures}",
            "model.net={name: unet, channels: [8, 16, 16], layers: 1}",
            "stages.progressive.method.steps=[2, 1]",
            "train.batch=2",
            "train.precision='no'",
            *(f"stages.{stage}.train.steps={count}" for stage, count in steps.items()),
            "bench.n=32",
            "bench.steps=[1, 2]",
            "bench.baselines=['ddim:4']",
            f"bench.extractor={judge}",
        ],
    )
    assert sum(stage.train.steps for stage in small.stages) == 200
    stages.run(small, tmp_path)
    rows = model_rows(tmp_path)
    assert {row["model"] for row in rows} == {stage.name for stage in small.stages}
    assert all(row["fd_cifar10"] > 0 for row in rows) and (tmp_path / "report.html").is_file()
    assert load(tmp_path / "teacher").shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "params"),
    [
        ("cifar10", (3, 32, 32), 57.2e6),
        ("cifar10-small", (3, 32, 32), 14.5e6),
        ("cifar10-grey", (1, 16, 16), 1.06e6),
    ],
)
def test_the_recipes_name_networks_of_the_size_they_say(name, shape, params):
    model = recipe.load(f"recipes/{name}.yaml").fresh_model(
        Dataset("x", torch.zeros(2, *shape, dtype=torch.uint8)), "meta"
    )
    assert sum(p.numel() for p in model.net.module.parameters()) == pytest.approx(params, rel=0.01)
