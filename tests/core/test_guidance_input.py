"""A network with its guidance as an input: unchanged at first, then learned, asked once,
and kept in files."""

import json

import pytest
import torch
from diffusers import UNet2DModel

from fastdiff.core.errors import FastdiffError
from fastdiff.core.extra_inputs import with_guidance
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import generate, sample
from fastdiff.samplers.plan import SamplingPlan
from tests.helpers.guided_students import Classes, Told, drawn, given, model_of, with_weight
from tests.helpers.networks import asked, small

kinds = pytest.mark.parametrize("kind", ["unet", "mlp"])


TIMES = pytest.mark.parametrize("times", ["one time", "a second time before", "a second time after"])


# ---- a network is told


@kinds
@TIMES
@torch.no_grad()
def test_the_untouched_teacher_is_unchanged(kind, times):
    teacher, student = given(kind, times)
    x, t, s, cond = asked(teacher)
    assert student.guidance == (1.0, 4.0) and teacher.guidance is None and student.net.null_label == 3
    assert student.two_times == (times != "one time") and not student.net.training
    for wanted in (with_weight(cond, 1.0, 2.5, 4.0), cond, None):
        for one, other in zip(student(x, t, s, wanted), teacher(x, t, s, wanted), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 if kind == "unet" else 0)
    assert {p.data_ptr() for p in student.parameters()}.isdisjoint(p.data_ptr() for p in teacher.parameters())
    again = with_guidance(student, (0.0, 9.0))  # a wider range goes on from what was learned
    assert again.guidance == (0.0, 9.0) and [p.shape for p in again.parameters()] == [
        p.shape for p in student.parameters()
    ]


@kinds
@TIMES
def test_every_weight_of_it_is_learned_and_each_sample_has_its_own(kind, times):
    _, student = given(kind, times)
    student.requires_grad_(True)
    optimizer, (x, t, s, cond) = torch.optim.Adam(student.parameters(), 1e-2), asked(student)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    for _ in range(2):  # the first step lets gradients through to the rest
        student(x, t, s, with_weight(cond, 1.0, 2.0, 3.0)).x0.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all((v != before[k]).any() for k, v in student.state_dict().items() if "label" not in k)
    mixed = student(x, t, s, with_weight(cond, 1.0, 2.0, 3.0)).x0
    for row, weight in enumerate((1.0, 2.0, 3.0)):
        alone = student(x, t, s, with_weight(cond, *[weight] * 3)).x0
        torch.testing.assert_close(mixed[row], alone[row], rtol=1e-4, atol=1e-5)
        assert (mixed - alone).abs().amax(tuple(range(1, x.ndim))).gt(1e-5).sum() == 2
    torch.testing.assert_close(
        student(x, t, s, cond).x0, student(x, t, s, with_weight(cond, 1.0, 1.0, 1.0)).x0
    )


@kinds
@pytest.mark.parametrize("inside", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_in_other_precisions(kind, inside):
    student = drawn(given(kind, "a second time after")[1])
    x, t, s, cond = asked(student)
    cond, loose = with_weight(cond, 1.0, 2.0, 3.0), 0.3 if inside == torch.bfloat16 else 1e-3
    whole = student(x, t, s, cond).x0
    torch.testing.assert_close(student.to(inside)(x, t, s, cond).x0, whole, rtol=loose, atol=loose)


def test_a_network_without_labels_or_a_place_for_it_is_refused():
    with pytest.raises(FastdiffError, match="guidance needs a model with labels and a null class"):
        with_guidance(small("mlp", 0), (1.0, 4.0))
    with pytest.raises(FastdiffError, match="Classes takes no guidance weight: only fastdiff.networks"):
        with_guidance(model_of(Classes, Cosine()), (1.0, 4.0))


# ---- and asked once


@pytest.mark.parametrize("weight", [1.0, 2.5, 4.0])
def test_one_evaluation_makes_what_two_made(weight):
    schedule, cond = Cosine(), {"label": torch.arange(6) % 3}
    times = time_grid(schedule, 4)
    told, plain = (
        list(
            generate(
                model_of(kind, schedule),
                SamplingPlan("ddim", times),
                torch.arange(6),
                cond=cond,
                guidance=weight,
                batch=4,
            )
        )
        for kind in (Told, Classes)
    )
    for one, two in zip(told, plain, strict=True):
        torch.testing.assert_close(one.x, two.x, rtol=1e-5, atol=1e-5)
        assert one.nfe == 4 and two.nfe == (4 if weight == 1 else 8)
    x = sample(
        model_of(Told, schedule), steps=2, n=3, labels=1, guidance=weight, clip=0.5
    )  # bounds go with it
    assert x.abs().max() <= 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": 4.5}, "guidance = 4.5: this model was trained for guidance from 1 to 4$"),
        ({"guidance": 0.5}, "guidance = 0.5: this model was trained for guidance from 1 to 4$"),
        ({"guidance": 2.0, "rescale": 0.5}, "evaluated once: leave out against, interval"),
        ({"guidance": 2.0, "every": 2}, "takes a guidance weight and is evaluated once"),
        ({"guidance": 2.0, "interval": (0.1, 5.0)}, "takes a guidance weight and is evaluated once"),
        ({"guidance": 1.0, "plus": True}, "takes a guidance weight and is evaluated once"),
        ({"guidance": 2.0, "labels": None}, "guidance = 2.0 needs labels"),
    ],
)
def test_what_it_was_not_trained_for_is_refused(settings, message):
    with pytest.raises(FastdiffError, match=message):
        sample(model_of(Told, Cosine()), **{"steps": 1, "n": 2, "labels": 1, **settings})


def test_a_model_told_its_guidance_needs_a_condition_to_follow_it():
    model = model_of(Told, Cosine())
    with pytest.raises(FastdiffError, match="guidance = 2.0 needs both a condition"):
        Guided(model, None, None, 2.0)
    p = Guided(model)(
        torch.zeros(2, 2).double(), torch.tensor(0.5).double(), torch.tensor(0.0).double()
    )  # no class
    assert torch.equal(p.x0, model(torch.zeros(2, 2).double(), torch.tensor(0.5).double()).x0)


# ---- files


@kinds
@TIMES
@torch.no_grad()
def test_it_is_kept_and_opened(tmp_path, kind, times):
    student = drawn(given(kind, times)[1])
    export(student, tmp_path, {})
    back, (x, t, s, cond) = load(tmp_path), asked(student)
    cond = with_weight(cond, 1.0, 2.5, 4.0)
    assert back.guidance == (1.0, 4.0) and back.two_times == student.two_times and back.net.null_label == 3
    for one, other in zip(back(x, t, s, cond), student(x, t, s, cond), strict=True):
        assert torch.equal(one, other)
    one, two = (sample(back, steps=2, n=4, labels=1, guidance=weight) for weight in (1, 3))
    assert torch.equal(two, sample(student, steps=2, n=4, labels=1, guidance=3.0)) and not torch.allclose(
        one, two
    )
    said = json.loads((tmp_path / "fastdiff.json").read_text())["guidance"]
    assert said == {"weights": [1.0, 4.0], "means": "null + weight (cond - null)"}
    # diffusers' pipelines cannot say a weight, so none is offered to them; the network itself is a plain one
    assert not (tmp_path / "model_index.json").exists() and (tmp_path / "scheduler").exists() == (
        kind == "unet"
    )
    if kind == "unet":
        assert UNet2DModel.from_pretrained(tmp_path / "unet").config.in_channels == 2 + 16 * (
            1 + student.two_times
        )


def test_older_files_know_of_none(tmp_path):
    export(small("mlp", 3), tmp_path, {})
    notes = json.loads((tmp_path / "fastdiff.json").read_text())
    assert notes.pop("guidance") is None
    (tmp_path / "fastdiff.json").write_text(json.dumps(notes))
    assert load(tmp_path).guidance is None


def test_on_another_schedule_it_is_told_the_same():
    student = drawn(given("mlp")[1])
    x, t, s, cond = asked(student)
    cond, flow = with_weight(cond, 1.0, 2.0, 3.0), student.with_schedule(Flow())
    assert flow.guidance == student.guidance
    scale = sum(Cosine().alpha_sigma(t))[:, None].float()
    tau, rho = (sigma / (alpha + sigma) for alpha, sigma in map(Cosine().alpha_sigma, (t, s)))
    torch.testing.assert_close(
        flow(x / scale, tau, rho, cond).x0, student(x, t, s, cond).x0, rtol=1e-4, atol=1e-5
    )
