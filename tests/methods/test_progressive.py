"""Progressive distillation against two steps of its teacher, by samplers and linear algebra."""

import math

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import DDPM, Cosine, Flow, Karras
from fastdiff.methods.loss_weights import snr_weight
from fastdiff.methods.progressive import Progressive, Stochastic, implied_x0
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import sample
from tests.helpers.oracles import START, batch_of, draws_of, mixture, named, told

HALVED = lambda i: (i, i - 0.5, i - 1)  # noqa: E731  where the teacher's two steps go


BY_TWO = lambda i: (i, i - 1, i - 2) if i > 1 else (1, 0)  # noqa: E731  the same of a stochastic round


def two_steps(teacher, steps, way=HALVED):
    """The x0 with which one DDIM step goes where two of the teacher go, by the sampler and linear algebra."""
    schedule = teacher.schedule

    def clean(x, t, s):
        found = torch.empty_like(x)
        for i in range(1, steps + 1):
            rows = t == schedule.t_max / steps * i
            start, walk = x[rows], schedule.t_max / steps * torch.tensor(way(i), dtype=torch.float64)
            here, there = walk[0], walk[-1]
            *_, end = SAMPLERS["ddim"](Guided(teacher), start, walk)
            (_, sigma_t), (_, sigma_s) = schedule.alpha_sigma(here), schedule.alpha_sigma(there)
            keep = sigma_s / sigma_t  # one DDIM step is keep x + (landing of x0 = 1) x0
            landing = schedule.alpha_sigma(there)[0] - keep * schedule.alpha_sigma(here)[0]
            found[rows] = (end.x - keep * start) / landing
        return found

    return clean


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_two_teacher_steps_has_no_loss(schedule, steps):
    teacher, seen = mixture(schedule), []
    student = told(two_steps(teacher, steps), schedule, "x0")
    nets = {"student": student, "teacher": lambda *a: seen.append(a) or teacher(*a)}
    loss, _ = Progressive(steps=steps).loss(("student",), nets, batch_of(draws_of(teacher, 512)), START)
    assert loss < 1e-18
    assert len(seen) == 2
    ((_, t, s, _),) = student.net.asked
    assert set((t * steps).tolist()) == set(range(1, steps + 1))  # t = 1, where alpha is 0, is among them
    assert torch.equal(s, t - 1 / steps)
    nets["student"] = told(
        lambda x, t, s: teacher(x, t, s).x0, schedule, "x0"
    )  # the teacher itself is not the answer
    assert (
        Progressive(steps=steps).loss(("student",), nets, batch_of(draws_of(teacher, 512)), START)[0] > 1e-4
    )


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_two_jumps_of_a_stochastic_teacher_has_no_loss(schedule, steps):
    """From the last point of the grid there is room for one alone."""
    teacher = mixture(schedule)
    student = told(two_steps(teacher, steps, BY_TWO), schedule, "x0")
    nets, batch = {"student": student, "teacher": teacher}, lambda: batch_of(draws_of(teacher, 512))
    assert Stochastic(steps=steps).loss(("student",), nets, batch(), START)[0] < 1e-18
    ((_, t, s, _),) = student.net.asked
    assert set((t * steps).tolist()) == set(range(1, steps + 1)) and torch.equal(
        s, (t - 2 / steps).clamp(min=0)
    )
    nets["student"] = told(two_steps(teacher, steps), schedule, "x0")  # progressive's answer is another
    assert Stochastic(steps=steps).loss(("student",), nets, batch(), START)[0] > 1e-4


def test_a_stochastic_round_is_sampled_as_it_was_trained():
    """Where the sampler asks, where it jumps to, and the pairs of times of the training are the same."""
    student, method = told(lambda x, t, s: torch.zeros_like(x), Cosine(), "x0"), Stochastic(steps=5)
    method.loss(
        ("student",), {"student": student, "teacher": mixture(Cosine())}, batch_of(torch.randn(512, 2)), START
    )
    trained = {
        pair
        for _, t, s, _ in student.net.asked
        for pair in zip((5 * t).round().tolist(), (5 * s).round().tolist())
    }
    student.net.asked.clear()
    student.sampling = method.sampling()
    sample(student, n=3)
    sampled = [(round(5 * float(t[0])), round(5 * float(s[0]))) for _, t, s, _ in student.net.asked]
    assert sampled == [(5, 3), (4, 2), (3, 1), (2, 0), (1, 0)] == sorted(trained, reverse=True)
    with pytest.raises(FastdiffError, match="trained for overshoot at 5 steps, not for ddim at 5"):
        sample(student, "ddim", n=3, steps=5)
    with pytest.raises(FastdiffError, match="steps = 1: expected at least 2, as one step has no noise"):
        Stochastic(steps=1)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras(), DDPM()], **named)
def test_one_ddim_step_with_the_implied_x0_lands_on_the_two_step_point(schedule):
    teacher, x = (
        mixture(schedule),
        torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    t, mid, s = (schedule.t_max * torch.tensor(v, dtype=torch.float64) for v in (0.75, 0.625, 0.5))
    *_, end = SAMPLERS["ddim"](Guided(teacher), x, torch.stack([t, mid, s]))
    x0 = implied_x0(schedule, x, t, end.x, s)
    single = told(lambda x, t, s: x0, schedule, "x0")
    *_, landed = SAMPLERS["ddim"](Guided(single), x, torch.stack([t, s]))
    torch.testing.assert_close(landed.x, end.x, rtol=1e-10, atol=1e-10)


def test_the_first_interval_takes_the_teachers_own_x0():
    """steps = 1: only s = 0, where the target is the teacher's second x0 and nothing is divided by."""
    schedule, answers = Cosine(), []
    oracle = mixture(schedule)

    def teacher(*a):
        answers.append(oracle(*a))
        return answers[-1]

    nets = {"student": told(lambda x, t, s: torch.zeros_like(x), schedule, "x0"), "teacher": teacher}
    loss, _ = Progressive(steps=1).loss(("student",), nets, batch_of(draws_of(oracle, 64)), START)
    assert torch.allclose(
        loss, answers[1].x0.square().mean(), rtol=1e-12
    )  # alpha = 0: the truncated weight is 1


def test_weights_are_their_formulas_and_snr_plus_1_is_the_error_in_v():
    schedule, t = Cosine(), torch.tensor([0.125, 0.5, 0.875, 1.0], dtype=torch.float64)
    snr = (1 / (math.pi / 2 * t).tan()) ** 2
    torch.testing.assert_close(snr_weight("truncated_snr", schedule, t), snr.clamp(min=1))
    weight = snr_weight("snr_plus_1", schedule, t)
    torch.testing.assert_close(weight, snr + 1)
    model, (x, a, b) = (
        told(None, schedule, "v"),
        torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)).double(),
    )
    alpha, sigma = (like(c, x) for c in schedule.alpha_sigma(t))
    v, w = (model.target(x0, (x - alpha * x0) / sigma, t) for x0 in (a, b))  # of one x_t
    torch.testing.assert_close(like(weight, a) * (a - b).square(), (v - w).square())
