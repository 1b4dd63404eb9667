"""A second time: given to a trained network it changes nothing, and then it is learned, kept,
and seen by samplers."""

import json

import pytest
import torch
import yaml
from diffusers import UNet2DModel
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.extra_inputs import with_second_time
from fastdiff.core.prediction import TIME_INPUTS
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.methods import METHODS
from fastdiff.methods.progressive import Progressive
from fastdiff.networks import unet
from fastdiff.runs import run as stages
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import sample
from fastdiff.samplers.plan import plan
from fastdiff.training import loop as train
from tests.helpers.networks import asked, small


def trained(model):
    """Its second time counts: as after some training."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("linear_2.weight", "gap.2.weight", "conv_in.weight")):
                p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    return model


kinds = pytest.mark.parametrize(("kind", "classes"), [("unet", 0), ("unet", 3), ("mlp", 0), ("mlp", 3)])


@kinds
@torch.no_grad()
def test_the_untouched_teacher_is_unchanged(kind, classes):
    teacher = small(kind, classes)
    student = with_second_time(teacher)
    assert student.two_times and not teacher.two_times and with_second_time(student) is student
    assert (
        student.net.null_label == teacher.net.null_label and not student.training and not student.net.training
    )
    x, t, s, cond = asked(teacher)
    for jump in (s, t, torch.zeros_like(t), None):
        for one, other in zip(student(x, t, jump, cond), teacher(x, t, jump, cond), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 if kind == "unet" and classes else 0)
    assert all(p.requires_grad for p in student.parameters())
    assert {p.data_ptr() for p in student.parameters()}.isdisjoint(p.data_ptr() for p in teacher.parameters())


@kinds
def test_every_weight_of_the_second_time_is_learned(kind, classes):
    student = with_second_time(small(kind, classes))
    optimizer, (x, t, s, cond) = torch.optim.Adam(student.parameters(), 1e-2), asked(student)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    for _ in range(2):  # the first step lets gradients through to the rest
        student(x, t, s, cond).x0.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all((v != before[k]).any() for k, v in student.state_dict().items() if "label" not in k)
    near, far = (student(x, t, t - gap, cond).x0 for gap in (0.01, 0.3))
    assert (near - far).abs().max() > 1e-4
    torch.testing.assert_close(student(x, t, None, cond).x0, student(x, t, t, cond).x0)


@kinds
@pytest.mark.parametrize("inside", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_in_other_precisions(kind, classes, inside):
    student = trained(with_second_time(small(kind, classes)))
    x, t, s, cond = asked(student)
    whole = student(x, t, s, cond).x0
    loose = 0.3 if inside == torch.bfloat16 else 1e-3
    torch.testing.assert_close(student.to(inside)(x, t, s, cond).x0, whole, rtol=loose, atol=loose)


@pytest.mark.parametrize("time_input", TIME_INPUTS)
def test_every_clock_can_say_zero(time_input):
    """Where the clock is a logarithm, too: the jump to clean data is what one-step sampling asks for."""
    student = trained(with_second_time(small("mlp", 0, Karras(), time_input=time_input)))
    x, zero = torch.randn(3, 3), torch.zeros(3, dtype=torch.float64)
    p = student(x, zero + 80, zero)
    assert p.x0.isfinite().all() and (p.x0 - student(x, zero + 80, zero + 40).x0).abs().max() > 1e-6
    torch.testing.assert_close(student(x, zero, zero).x0, x)


def test_a_network_without_a_place_for_it_is_refused():
    with pytest.raises(FastdiffError, match="Linear takes no second time: only fastdiff.networks"):
        with_second_time(Denoiser(nn.Linear(2, 2), Flow(), "velocity"))


def test_on_another_schedule_the_jump_is_to_the_same_noise():
    student = trained(with_second_time(small("mlp", 0)))
    x, t, s, _ = asked(student)
    flow = student.with_schedule(Flow())
    scale = sum(Cosine().alpha_sigma(t))[:, None].float()
    tau, rho = (sigma / (alpha + sigma) for alpha, sigma in map(Cosine().alpha_sigma, (t, s)))
    for one, other in zip(flow(x / scale, tau, rho), student(x, t, s), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_learned_variance_is_told_from_the_planes():
    net = unet((2, 8, 8), 3, channels=(8, 16), layers=1, groups=4, learned_variance=True)
    assert net.learned_variance and net.with_second_time().learned_variance
    assert not small("unet", 3).net.with_second_time().learned_variance


# ---- files


@kinds
@torch.no_grad()
def test_a_student_of_two_times_is_kept_and_opened(tmp_path, kind, classes):
    student = trained(with_second_time(small(kind, classes))).requires_grad_(False)
    export(student, tmp_path, {})
    back, (x, t, s, cond) = load(tmp_path), asked(student)
    assert back.two_times and back.net.null_label == student.net.null_label
    for one, other in zip(back(x, t, s, cond), student(x, t, s, cond), strict=True):
        assert torch.equal(one, other)
    assert with_second_time(back) is back  # a student that goes on from here keeps what it learned
    labels = 1 if classes else None
    assert torch.equal(
        sample(back, steps=2, n=4, labels=labels), sample(student, steps=2, n=4, labels=labels)
    )
    # diffusers' pipelines know one time, so none is offered to them; its schedulers are called by the card's
    # own loop
    assert not (tmp_path / "model_index.json").exists() and (tmp_path / "scheduler").exists() == (
        kind == "unet"
    )


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_diffusers_alone_opens_the_network(tmp_path, classes):
    student = trained(with_second_time(small("unet", classes)))
    export(student, tmp_path, {})
    x, t, s, cond = asked(student)
    theirs, clock, gap = (
        UNet2DModel.from_pretrained(tmp_path / "unet"),
        (1000 * t - 1).float(),
        (1000 * (t - s)).float(),
    )
    if classes:
        angles = gap[:, None] * 10.0 ** -torch.arange(0, 4, 0.5)
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        x_in = torch.cat([x, waves[:, :, None, None].expand(-1, -1, 8, 8)], 1)
    output = theirs(x_in, clock, cond["label"]).sample if classes else theirs(x, clock, gap).sample
    torch.testing.assert_close(output, student.raw(x, t, s, cond), rtol=1e-4, atol=1e-4)


# ---- samplers


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_that_jump_are_the_ones_allowed(sampler):
    student = with_second_time(small("mlp", 0))
    if sampler in ("ddim", "gamma", "overshoot", "consistency", "euler_ancestral"):
        assert plan(student, sampler, 2, None).sampler == sampler
        assert sample(student, sampler, steps=2, n=3).isfinite().all()
    else:
        with pytest.raises(FastdiffError, match="needs the slope at a time"):
            plan(student, sampler, 2, None)


def test_ddim_tells_where_it_jumps():
    student, seen = with_second_time(small("mlp", 0)), []
    student.net.register_forward_pre_hook(
        lambda net, args: seen.append((float(args[1][0]), float(args[2][0])))
    )
    sample(student, "ddim", steps=4, n=2)
    assert seen == [pytest.approx((1000 * t - 1, 1000 * t - 251)) for t in (1.0, 0.75, 0.5, 0.25)]


# ---- a stage of a recipe


RECIPE = {
    "name": "two",
    "data": {"name": "toy", "n": 200},
    "model": {"net": {"name": "mlp", "width": 16, "depth": 1}},
    "train": {"steps": 12, "batch": 32, "save_every": 4, "log_every": 4},
    "stages": {
        "teacher": {"method": "denoising"},
        "jumping": {"method": {"name": "progressive", "steps": 2}, "teacher": "teacher"},
        "again": {"method": {"name": "progressive", "steps": 1}, "teacher": "jumping", "init": "jumping"},
    },
    "bench": {"steps": [1], "baselines": [], "n": 64, "seeds": [0]},
}


class Jumping(Progressive):
    """Progressive distillation of a student that is told both times."""

    def student(self, model):
        return with_second_time(model)


@pytest.mark.long
def test_a_method_makes_its_student_of_what_it_starts_from(tmp_path, monkeypatch):
    """The student is of two times in its stage, in its file and after a stop;
    the teacher stays what it was."""
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    monkeypatch.setitem(METHODS, "progressive", Jumping)
    recipe = stages.load_recipe(tmp_path / "two.yaml")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    stages.run(recipe, whole)
    for stage, two in (("teacher", False), ("jumping", True), ("again", True)):
        assert json.loads((whole / stage / "fastdiff.json").read_text())["two_times"] == two
    advance, calls = train.Training.advance, []

    def stopped(self):
        calls.append(self.step)
        if len(calls) == 12 + 7:  # in the second stage, between two states
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            stages.run(recipe, broken)
    assert not (broken / "jumping/fastdiff.json").exists()
    stages.run(recipe, broken)
    for stage in ("jumping", "again"):
        kept = [
            (out / stage / "mlp/diffusion_pytorch_model.safetensors").read_bytes() for out in (whole, broken)
        ]
        assert kept[0] == kept[1]
    gap = load(whole / "jumping").net.gap[-1].weight
    assert gap.abs().max() > 0
