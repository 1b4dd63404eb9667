"""Adapters: what is trained, shared, averaged and saved, and settings that are refused."""

import sys
from copy import deepcopy

import peft
import pytest
import torch
from diffusers import UNet2DModel

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.ema import update
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.core.schedule import Flow as FlowLine
from fastdiff.data.toys import toy
from fastdiff.io.export.model import export
from fastdiff.io.load import load, read_metadata
from fastdiff.methods import METHODS
from fastdiff.networks import lora, mlp
from fastdiff.networks.lora import Lora
from fastdiff.networks.unet import unet
from fastdiff.runs import recipe
from fastdiff.training.config import TrainConfig
from tests.helpers.adapters import run_of, weights

# ---- what is trained


def points():
    torch.manual_seed(0)
    net = mlp((2,), width=16, depth=2)
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return Denoiser(net, FlowLine(), "velocity", (2,)).eval().requires_grad_(False)


def settings(**more):
    return TrainConfig(
        **(
            {
                "steps": 6,
                "batch": 16,
                "log_every": 2,
                "save_every": 3,
                "lr": 0.01,
                "ema": 0.9,
                "lora": Lora(rank=2),
            }
            | more
        )
    )


@pytest.mark.parametrize("name", ["cd", "progressive", "ect", "scd", "lcm"])
def test_any_method_trains_an_adapter_of_a_teacher_that_stays_as_it_is(name, tmp_path):
    method = METHODS[name](**({"weights": (1.0, 1.0)} if name == "lcm" else {}))
    begun = points()
    teacher, first = lora.twin(begun), weights(begun)
    assert all(own is other for own, other in zip(begun.parameters(), teacher.parameters()))
    run = run_of(
        tmp_path,
        teacher if method.needs_teacher else None,
        toy(n=64),
        settings(),
        method,
        method.student(begun),
    )
    list(run)
    for own, old in weights(teacher).items():
        assert torch.equal(old, first[own]), own
    changed = lora.merged(run.result().net).state_dict()
    moved = [name for name, value in changed.items() if not torch.equal(value, first[f"net.{name}"])]
    assert {name.split(".")[0] for name in moved} == {"blocks"}
    if run.targets:
        assert 0 < run.networks.averages.drifts(run.student)["drift"] < 1  # of the adapter alone


def test_an_average_keeps_its_hands_off_what_it_shares(tmp_path):
    model = points()
    lora.adapt(model, Lora(rank=2))
    average = lora.twin(model).requires_grad_(False)
    before = weights(model)
    for p in model.parameters():
        if p.requires_grad:
            p.data.add_(1)
    update(average, model, 0.75)
    for (name, own), old in zip(average.named_parameters(), before.values()):
        torch.testing.assert_close(own, old + 0.25 if "lora_" in name else old)


def test_an_adapter_that_is_not_trained_yet_changes_nothing(tmp_path):
    """Of convolutions too; and peft puts what was trained on the teacher's own network."""
    torch.manual_seed(0)
    net = unet((1, 8, 8), classes=3, channels=(8, 16), layers=1, groups=4)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8)).eval()
    export(model, tmp_path / "teacher", {})
    x, t, cond = torch.randn(4, 1, 8, 8), torch.tensor(0.6).double(), {"label": torch.arange(4)}
    with torch.no_grad():
        before = model(x, t, t, cond).x0
        lora.adapt(model, Lora(rank=3, alpha=6.0))
        assert torch.equal(model(x, t, t, cond).x0, before)
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p), alpha=0.1)
        after = model(x, t, t, cond).x0
    export(model, tmp_path / "student", {})
    assert {p.name for p in (tmp_path / "student/lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert read_metadata(tmp_path / "student")["lora"]["read_by"] == "peft PeftModel.from_pretrained"
    plain = UNet2DModel.from_pretrained(tmp_path / "teacher/unet")
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "student/lora")
    model.net.module = theirs.base_model.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x, t, t, cond).x0, after, atol=1e-5, rtol=0)
        torch.testing.assert_close(load(tmp_path / "student")(x, t, t, cond).x0, after, atol=1e-5, rtol=0)
        assert (after - before).abs().max() > 0.01


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ((), ("blocks.0.1", "blocks.0.3", "blocks.1.1", "blocks.1.3")),
        (("last",), ("last",)),
        (("blocks.1", "first"), ("blocks.1.1", "blocks.1.3", "first")),
        (("time", "3"), ("blocks.0.3", "blocks.1.3", "time.0", "time.2")),
    ],
)
def test_targets_are_parts_of_names(targets, layers):
    model = points()
    lora.adapt(model, Lora(rank=2, targets=targets))
    assert sorted(name for name, layer in model.net.named_modules() if hasattr(layer, "base_layer")) == list(
        layers
    )


# ---- refusals


def test_targets_that_are_no_layers_are_refused():
    with pytest.raises(
        FastdiffError, match="lora.targets: no layer of the network is called block, did you mean blocks"
    ):
        lora.adapt(points(), Lora(targets=("block",)))
    with pytest.raises(
        FastdiffError, match="no layer of the network is called to_q, choose from blocks, first, last, time"
    ):
        lora.adapt(points(), Lora(targets=("last", "to_q")))


SOURCE = {
    "name": "r",
    "data": {"name": "toy", "n": 64},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "stages": {"teacher": {"method": "denoising"}, "cd": {"method": "cd", "teacher": "teacher"}},
}


def built(stage="cd", **train):
    source = deepcopy(SOURCE)
    source["stages"][stage]["train"] = train
    return recipe.build(source)


def test_settings_of_an_adapter_are_checked():
    assert (
        built(lora={"rank": 8}).stages[1].train.lora == Lora(rank=8) and built().stages[1].train.lora is None
    )
    for wrong, message in (
        ({"rnk": 8}, "stages.cd.train.lora.rnk is unknown, did you mean rank"),
        ({"rank": 0}, "stages.cd.train.lora.rank: .* got 0"),
        ({"alpha": -1}, "lora.alpha"),
        ({"targets": "to_q"}, "lora.targets"),
    ):
        with pytest.raises(FastdiffError, match=message):
            built(lora=wrong)
    with pytest.raises(FastdiffError, match="stages.cd.train.lora: .*got 64"):
        built(lora=64)
    with pytest.raises(FastdiffError, match="stages.teacher.train.lora: an adapter needs a trained model"):
        built("teacher", lora={})


def test_adapters_need_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(FastdiffError, match=r"train.lora needs peft: pip install 'fastdiff\[lora\]'"):
        built(lora={})
    with pytest.raises(FastdiffError, match="needs peft"):
        lora.adapt(points(), Lora())


def test_an_adapter_is_not_split_over_processes(tmp_path):
    with pytest.raises(FastdiffError, match="train.shard: expected false with an adapter"):
        run_of(tmp_path, points(), toy(n=64), settings(shard=True), METHODS["cd"](), points())
