"""The features command: a network for one's own images, in a line that says what it is worth."""

import json

import pytest
import yaml

from fastdiff.evaluation.metrics.extractors import open_extractor
from tests.helpers.commands import RECIPE
from tests.helpers.images import picture, save


@pytest.fixture
def shapes(tmp_path):
    """Twelve pictures in each of two class folders, without splits."""
    for kind in range(2):
        for seed in range(12):
            save(tmp_path / f"my shapes/kind{kind}/{seed}.png", picture(8, 8, 12 * kind + seed))
    return tmp_path / "my shapes"


def test_a_folder_gives_the_network_its_name(shapes, fastdiff, tmp_path):
    code, out, err = fastdiff("features", shapes, "--out", tmp_path / "out", "--epochs", 1)
    assert code == 0 and "features  " in err and "loss" in err
    info = json.loads((tmp_path / "out/features.json").read_text())
    assert info["trained_on"].startswith("my shapes: 20 images of 8 x 8 in 3 channels, 2 classes")
    assert f"fd_my_shapes, accuracy {info['test_accuracy']:.3f} (by chance 0.500)" in out
    assert out.splitlines()[-1] == f"use it with: fastdiff run RECIPE bench.extractor={tmp_path / 'out'}"
    assert open_extractor(str(tmp_path / "out"), "cpu").named("fd") == "fd_my_shapes"


def test_a_recipe_states_the_data(shapes, fastdiff, refused, tmp_path):
    recipe = RECIPE | {
        "data": {"name": str(shapes), "resolution": 4, "colour": "grey"},
        "model": {"net": {"name": "unet", "channels": [8]}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe))
    words = ("features", tmp_path / "own.yaml", "--epochs", 1, "--name", "own")
    assert fastdiff(*words, "--out", tmp_path / "out")[0] == 0
    info = json.loads((tmp_path / "out/features.json").read_text())
    assert (info["name"], info["size"], info["channels"]) == ("own", 4, 1)
    assert "out: exists already; name a new folder" in refused(*words, "--out", tmp_path / "out")
    assert "--colour: the recipe" in refused(*words, "--colour", "rgb", "--out", tmp_path / "other")


def test_data_that_are_no_images(refused, tmp_path):
    assert "data toy = (2,): expected grey or RGB" in refused("features", "toy", "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
