"""The model of a recipe: fresh networks of the data's shape, and settings that do not fit."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import VP
from fastdiff.data.registry import Dataset
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.runs.model_config import ModelSpec, opened
from fastdiff.runs.recipe import build
from tests.helpers.paths import ROOT
from tests.helpers.recipes import changed

LABELLED = Dataset("dots", torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), 3)


def test_schedules_and_data_take_options():
    recipe = build(changed("model.schedule={name: vp, beta_max: 15}", "data.n=1e2"))
    data = recipe.dataset()
    assert len(data) == 100 and recipe.fresh_model(data).schedule.beta_max == 15.0


def test_a_fresh_model_is_of_the_datas_shape_and_classes():
    spec = ModelSpec(
        net={"name": "mlp", "width": 8},
        schedule={"name": "vp", "beta_max": 12.0},
        labels=True,
        predicts="eps",
    )
    model = spec.fresh(LABELLED, "cpu")
    assert (model.shape, model.classes, model.predicts) == ((3,), 3, "eps")
    assert model.schedule == VP(beta_max=12.0)
    assert ModelSpec(net="mlp").fresh(LABELLED, "cpu").classes is None
    with pytest.raises(FastdiffError, match="^model.labels: the data set dots has no labels; leave"):
        spec.fresh(Dataset("dots", torch.zeros(4, 3)), "cpu")


def test_on_the_device_meta_a_model_has_a_shape_and_no_weights():
    model = ModelSpec(net="mlp").fresh(LABELLED, "meta")
    assert model.shape == (3,) and all(p.is_meta for p in model.parameters())


def test_text_needs_a_network_that_takes_it_and_the_reverse():
    pictures = Dataset("few", torch.zeros(4, 1, 8, 8))
    with pytest.raises(FastdiffError, match="^model.text is missing: the network text_unet takes text; name"):
        ModelSpec(net="text_unet").fresh(pictures, "meta")
    with pytest.raises(FastdiffError, match="^model.text: the network mlp does not take text"):
        ModelSpec(net="mlp", text=str(ROOT / "checkpoints/digits-latent/pipeline")).fresh(LABELLED, "meta")


def test_a_companion_is_opened_once_and_a_missing_one_is_named(tmp_path):
    pipeline = str(ROOT / "checkpoints/digits-latent/pipeline")
    first = opened(Autoencoder, "autoencoder", pipeline)
    assert opened(Autoencoder, "autoencoder", f"{pipeline}/../pipeline") is first
    with pytest.raises(FastdiffError, match="^model.autoencoder: "):
        opened(Autoencoder, "autoencoder", str(tmp_path))
