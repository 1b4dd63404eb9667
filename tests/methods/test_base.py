"""Every method at rest on one point, and what it says of itself."""

import pytest
import torch

from fastdiff.core.schedule import Flow
from fastdiff.methods import METHODS
from fastdiff.methods.base import PseudoHuber, Uniform
from fastdiff.methods.progressive import Progressive
from fastdiff.methods.scm import Weighting
from fastdiff.runs.origin import non_default_settings
from tests.helpers.oracles import MIDDLE, PARAMETERISATIONS, POINT, START, batch_of, constant, named

APART = (
    "dmd2",
    "f_distill",
    "sid",
    "sida",
    "diff_instruct",
    "add",
    "ladd",
    "gan",
)  # they learn by other networks too


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in APART])
def test_at_rest_on_one_point(name, schedule, predicts):
    method, student = METHODS[name](), constant(POINT, schedule, predicts)
    others = {r: constant(POINT, schedule, predicts) for r in ("teacher", "stage_one", *method.target_emas())}
    nets = {"student": student, **others, "weighting": Weighting()}
    cond = {"label": torch.zeros(256).long(), "guidance": torch.full((256,), 3.0)}
    loss, logs = method.loss(("student",), nets, batch_of(POINT.repeat(256, 1), cond=cond), MIDDLE)
    loss.backward()
    assert loss.ndim == 0 and loss.abs() < 1e-9
    assert student.net.point.grad.abs().max() < 1e-6
    assert nets["teacher"].net.point.grad is None
    assert all(torch.isfinite(v) for v in logs.values())


@pytest.mark.parametrize("name", ["denoising", "progressive"])
def test_downhill_is_back_to_the_point(name):
    """Not for ect and cd: a constant agrees with itself, wherever it is."""
    student, teacher = (constant(POINT + shift, Flow(), "velocity") for shift in (0.1, 0.0))
    nets = {"student": student, "teacher": teacher}
    METHODS[name]().loss(("student",), nets, batch_of(POINT.repeat(256, 1)), MIDDLE)[0].backward()
    assert (student.net.point.grad > 0).all()


def test_what_a_method_says_of_itself():
    assert METHODS["consistency"] is METHODS["ect"]
    assert [METHODS[n]().teacher_nfe() for n in ("denoising", "progressive", "ect", "cd")] == [0, 2, 0, 2]
    assert {n for n, m in METHODS.items() if m.needs_teacher} >= {"progressive", "cd", "tcm", "scd"}
    assert Progressive(steps=4).sampling().steps == (4,) and Progressive(steps=4).sampling().only
    assert not METHODS["ect"].needs_teacher and not METHODS["sct"].needs_teacher
    assert all(
        METHODS[n]().turns(START) == (("student",),) and METHODS[n]().target_emas() == {}
        for n in ("denoising", "progressive", "ect", "cd")
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_first_default_is_of_a_setting_and_not_the_present_default(name):
    method = METHODS[name]()
    for setting, first in method.first_defaults.items():
        assert getattr(method, setting) != first


def test_the_origin_of_a_student_of_the_first_defaults_is_unchanged():
    first = {"times": Uniform(), "k": 0.0, "clock": "time"}
    cd = METHODS["cd"](halvings=6, distance=PseudoHuber(), solver="euler", **first)
    assert non_default_settings(METHODS["ect"](halvings=6, **first)) == {"halvings": 6}
    assert non_default_settings(cd) == {"halvings": 6}
    assert non_default_settings(METHODS["ect"]()) == {
        "times": "LogNormal(mean=-1.1, std=2.0)",
        "halvings": 7,
        "k": 8.0,
        "clock": "sigma",
    }
