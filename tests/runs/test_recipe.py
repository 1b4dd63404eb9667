"""What a good recipe becomes."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.methods import METHODS
from fastdiff.methods.base import LogNormal
from fastdiff.runs.recipe import build, load
from fastdiff.training.loop import TrainConfig
from tests.helpers.paths import ROOT
from tests.helpers.recipes import PLAIN, changed


def test_plain_recipe():
    recipe = build(PLAIN)
    assert [stage.name for stage in recipe.stages] == [
        "teacher",
        "progressive-4",
        "progressive-2",
        "consistency",
    ]
    assert [stage.method_name for stage in recipe.stages] == [
        "denoising",
        "progressive",
        "progressive",
        "ect",
    ]
    assert recipe.bench.steps == (1, 2) and recipe.bench.n == 8
    data = recipe.dataset()
    model = recipe.fresh_model(data)
    assert (len(data), data.shape, model.shape, model.predicts) == (64, (2,), (2,), "v")
    assert model.net.config.width == 8 and type(model.schedule).__name__ == "Cosine"
    assert model(torch.zeros(3, 2), torch.tensor(0.5, dtype=torch.float64)).x0.shape == (3, 2)


def test_defaults_give_way_from_the_outside_in():
    def train(*assignments):
        return build(changed("stages.progressive.method.steps=2", *assignments)).stages[1].train

    brings = METHODS["progressive"].training
    assert brings["ema"] != TrainConfig.ema and "warmup" not in brings and "lr_schedule" in brings
    assert train().warmup == TrainConfig.warmup  # TrainConfig
    assert train("train.warmup=7").warmup == 7  # < the recipe's train
    assert train("train.ema=0.5").ema == brings["ema"]  # < the method's training
    assert train("train.ema=0.5", "stages.progressive.train.ema=0.25").ema == 0.25  # < the stage's train
    assert build(changed("train.ema=0.5")).stages[0].train.ema == 0.5  # other methods bring none


def test_settings_of_roles_give_way_key_by_key(monkeypatch):
    brings = {"roles": {"fake": {"lr": 1.0, "max_grad_norm": 5}, "discriminator": {"lr": 2.0}}}
    monkeypatch.setattr(METHODS["ect"], "training", brings)
    found = build(
        changed(
            (
                "stages.consistency.train.roles={fake: {lr: 1e-4}, student: {betas: [0, 0.99], optimizer: "
                "radam}}"
            ),
            "train.weight_decay=0.5",
        )
    )
    roles = {role: found.stages[-1].train.of(role) for role in ("fake", "discriminator", "student", "other")}
    assert {role: (own.lr, own.max_grad_norm) for role, own in roles.items()} == {
        "fake": (1e-4, 5),
        "discriminator": (2.0, 1),
        "student": (0.001, 1),
        "other": (0.001, 1),
    }
    assert (roles["student"].betas, roles["student"].optimizer, roles["fake"].optimizer) == (
        (0, 0.99),
        "radam",
        "adam",
    )
    assert {own.weight_decay for own in roles.values()} == {0.5} and found.stages[0].train.of(
        "fake"
    ).lr == 0.001
    assert METHODS["ect"].training is brings and brings["roles"]["fake"] == {"lr": 1.0, "max_grad_norm": 5}


def test_methods_take_nested_names():
    times = (
        build(changed("stages.teacher.method.times={name: lognormal, mean: -1, std: 2}"))
        .stages[0]
        .method.times
    )
    assert times == LogNormal(-1.0, 2.0)
    assert build(changed("stages.teacher.method.times=lognormal")).stages[0].method.times == LogNormal()


def test_a_folder_can_be_the_data_and_reports_its_options(tmp_path):
    with pytest.raises(FastdiffError, match="no images found"):
        build(changed(f"data={tmp_path}")).dataset()
    with pytest.raises(FastdiffError, match="resolutoin"):
        build(changed(f"data={{name: {tmp_path}, resolutoin: 8}}")).dataset()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_build(path):
    recipe = load(path)
    assert recipe.stages and recipe.name == {"digits": "digits-quick", "digits-full": "digits"}.get(
        path.stem, path.stem
    )
    opening = path.read_text().split("\n")
    assert opening[0].startswith("# ") and any(
        f"fastdiff run recipes/{path.name}" in line for line in opening
    )
