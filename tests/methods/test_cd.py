"""Consistency distillation: the teacher's step, and the weights of pairs."""

import math

import pytest
import torch

from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.methods.base import LogNormal, PseudoHuber, SquaredL2
from fastdiff.methods.cd import CD
from fastdiff.methods.time_sampling import KarrasIndex
from fastdiff.samplers import SAMPLERS
from tests.helpers.consistency import data, gaussian, std
from tests.helpers.oracles import (
    MIDDLE,
    batch_of,
    draws_of,
    mixture,
    named,
    told,
)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
@pytest.mark.parametrize(("solver", "order"), [("euler", 2), ("heun", 3)])
def test_the_error_of_the_teachers_step(solver, order, schedule):
    oracle, t = gaussian(schedule), torch.tensor([0.5], dtype=torch.float64)
    x, errors = torch.ones(1, 1, dtype=torch.float64), []
    for step in (0.05, 0.025, 0.0125):
        s = t - step
        near = CD(solver=solver).x_at_s({"student": oracle, "teacher": oracle}, batch_of(x), x, None, t, s)
        errors.append(float((near - x * std(schedule, s) / std(schedule, t)).abs()))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.15) and errors[2] < 1e-3


@pytest.mark.parametrize("schedule", [Flow(), Karras()], **named)
def test_heuns_step_is_the_samplers_where_the_path_is_straight(schedule):
    oracle, x = gaussian(schedule), torch.tensor([[1.0], [-0.3]], dtype=torch.float64)
    t, s = (torch.tensor(v, dtype=torch.float64) for v in (0.8, 0.3))
    *_, end = SAMPLERS["heun"](Guided(oracle), x, torch.stack([t, s]))
    nets, t, s = {"student": oracle, "teacher": oracle}, t.expand(2), s.expand(2)
    torch.testing.assert_close(CD(solver="heun").x_at_s(nets, batch_of(x), x, None, t, s), end.x)
    torch.testing.assert_close(
        CD(solver="heun").x_at_s(nets, batch_of(x), x, None, t, 0 * s), oracle(x, t).x0
    )  # Euler's
    assert (CD().teacher_nfe(), CD(solver="euler").teacher_nfe()) == (2, 1)


def test_cd_reaches_its_target_by_one_ddim_step_of_the_teacher():
    schedule = Cosine()
    oracle, seen = mixture(schedule), []
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    nets = {"student": student, "teacher": lambda *a: seen.append(a) or oracle(*a)}
    CD(solver="euler").loss(("student",), nets, batch_of(draws_of(oracle, 32)), MIDDLE)
    assert len(seen) == 1
    (xt, t, _, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    assert torch.equal(seen[0][1], t) and torch.equal(seen[0][2], s)
    for row in range(32):
        *_, end = SAMPLERS["ddim"](Guided(oracle), xt[row : row + 1], torch.stack([t[row], s[row]]))
        torch.testing.assert_close(xs[row : row + 1], end.x)


@pytest.mark.parametrize(("distance", "power"), [(SquaredL2(), 2), (PseudoHuber(1e-9), 1)], **named)
@pytest.mark.parametrize("schedule", [Cosine(), Flow()], **named)
def test_a_weight_by_level_makes_errors_in_x0_those_in_v(schedule, distance, power):
    """On a schedule of constant variance; on others by the same formula, SNR + 1."""
    student = told(lambda x, t, s: x * 0.5, schedule, "v", (1,))
    nets = {"student": student, "teacher": gaussian(schedule)}
    method = CD(distance=distance, weight="snr_plus_1")
    loss, _ = method.loss(("student",), nets, batch_of(data(512)), MIDDLE)
    (x, t, *_), (near, *_) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    alpha, sigma = schedule.alpha_sigma(t)
    error = ((x - near) / 2).abs()[:, 0] * (alpha**2 + sigma**2).sqrt() / sigma
    torch.testing.assert_close(loss, (error**power).mean(), rtol=1e-6, atol=1e-9)


def test_the_gap_and_the_weight_of_continuous_times_multiply():
    schedule, t = Cosine(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    s = t / 2
    in_sigma = CD(times=LogNormal(), weight="truncated_snr").width(schedule, t, s)
    gap = (t * math.pi / 2).tan() - (s * math.pi / 2).tan()
    torch.testing.assert_close(in_sigma, gap * (t * math.pi / 2).tan().square().clamp(max=1))


def test_the_pairs_of_a_grid_weigh_1_in_cd():
    student = told(lambda x, t, s: x * 0.5, Cosine(), "v", (1,))
    nets = {"student": student, "teacher": gaussian(Cosine())}
    loss, _ = CD(times=KarrasIndex(), distance=SquaredL2()).loss(
        ("student",), nets, batch_of(data(512)), MIDDLE
    )
    (x, *_), (near, *_) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    torch.testing.assert_close(loss, ((x - near).square() / 4).mean())
