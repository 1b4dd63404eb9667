"""The passes of a consistency pair: at the data, on one path, with one dropout mask,
and the teacher's step between them."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.methods import Progress
from fastdiff.methods.base import LogitNormal, LogNormal, PseudoHuber, Uniform
from fastdiff.methods.consistency import CD, ECT
from fastdiff.networks import MLP
from fastdiff.samplers import SAMPLERS
from tests.helpers.consistency import gaussian, std
from tests.helpers.oracles import (
    MIDDLE,
    PARAMETERISATIONS,
    POINT,
    START,
    batch_of,
    constant,
    draws_of,
    mixture,
    named,
    told,
)

# ---- the teacher's step


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
    assert (CD(solver="heun").teacher_nfe(), CD().teacher_nfe()) == (2, 1)


# ---- consistency


@pytest.mark.parametrize(("schedule", "predicts"), [p for p in PARAMETERISATIONS if p[1] != "x0"], **named)
def test_the_student_is_the_identity_at_time_zero(schedule, predicts):
    torch.manual_seed(0)
    net = MLP(2, 16, 1)
    nn.init.normal_(net.last.weight)
    x, zero = torch.randn(4, 2), torch.zeros(4, dtype=torch.float64)
    model = Denoiser(net, schedule, predicts, (2,))
    torch.testing.assert_close(model(x, zero, zero).x0, x)
    assert not torch.allclose(model(x, zero + schedule.t_max / 2, zero).x0, x)


@pytest.mark.parametrize("law", [Uniform(), LogNormal(), LogitNormal()], **named)
def test_the_target_is_nearer_the_data_on_the_path_of_the_same_noise(law):
    schedule, x0 = Flow(), draws_of(mixture(Flow()), 512)
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    for progress in (START, MIDDLE, Progress(100, 100, 0)):
        student.net.asked.clear()
        _, logs = ECT(times=law).loss(("student",), {"student": student}, batch_of(x0), progress)
        (xt, t, zero, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
        assert ((s > 0) & (s < t) & (t <= schedule.t_max)).all() and (zero == 0).all()
        torch.testing.assert_close(s, t * (1 - ECT().gap(progress)))
        noise = [(x - like(1 - u, x) * x0) / like(u, x) for x, u in ((xt, t), (xs, s))]
        torch.testing.assert_close(*noise, rtol=1e-6, atol=1e-6)
        assert torch.isclose(logs["gap"], (t - s).mean())


def test_both_passes_share_their_dropout_mask(monkeypatch):
    """With s next to t the passes can only differ by their masks,
    and the loss weighs any difference by a billion."""

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)).double()

        def forward(self, x, t, s=None, cond=None):
            return self.layers(x)

    torch.manual_seed(0)
    monkeypatch.setattr(ECT, "gap", lambda self, progress: 1e-9)
    student = Denoiser(Dropping(), Flow(), "velocity", (2,), time_input="time").train()
    x0, t = torch.randn(64, 2, dtype=torch.float64), torch.full((64,), 0.5, dtype=torch.float64)
    assert not torch.equal(student(x0, t).x0, student(x0, t).x0)
    before = torch.random.get_rng_state()
    teacher = constant(POINT, Flow(), "velocity")
    for method in (ECT(), CD()):
        torch.random.set_rng_state(before)
        loss, _ = method.loss(("student",), {"student": student, "teacher": teacher}, batch_of(x0), START)
        assert loss < 1e-3
        assert not torch.equal(torch.random.get_rng_state(), before)  # and the next pair gets another mask


def test_cd_reaches_its_target_by_one_ddim_step_of_the_teacher():
    schedule = Cosine()
    oracle, seen = mixture(schedule), []
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    nets = {"student": student, "teacher": lambda *a: seen.append(a) or oracle(*a)}
    CD().loss(("student",), nets, batch_of(draws_of(oracle, 32)), MIDDLE)
    assert len(seen) == 1
    (xt, t, _, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    assert torch.equal(seen[0][1], t) and torch.equal(seen[0][2], s)
    for row in range(32):
        *_, end = SAMPLERS["ddim"](Guided(oracle), xt[row : row + 1], torch.stack([t[row], s[row]]))
        torch.testing.assert_close(xs[row : row + 1], end.x)


def test_the_mean_gradient_at_the_exact_consistency_function_falls_with_the_gap():
    """Data N(0, 0.25): f(x, t) = 0.5 x / std(x_t) is exact, and under squared distance no more than the gap
    is left."""
    schedule, size = Flow(), 0.5

    def std(t):
        return ((size * (1 - t)) ** 2 + t**2).sqrt()

    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64))  # f stays the identity at t = 0
    student = told(lambda x, t, s: like(size / std(t) * (1 + tilt * t), x) * x, schedule, "x0", (1,))
    student.net.tilt = tilt
    grid = torch.linspace(0.001, 1, 20001, dtype=torch.float64)
    falls = []
    for start in (0.2, 0.1, 0.05):
        method, found = (
            ECT(start=start, distance=PseudoHuber(100.0)),
            [],
        )  # so wide a Huber is squared distance / (2 c)
        for seed in range(8):
            x0 = size * SampleRng(seed, torch.arange(1 << 15)).normal((1,)).double()
            loss, _ = method.loss(("student",), {"student": student}, batch_of(x0, seed + 100), START)
            found.append(100 * torch.autograd.grad(loss, tilt)[0])
        mean, error = torch.stack(found).mean(), torch.stack(found).std() / 8**0.5
        s = grid * (1 - start)
        alike = (size**2 * (1 - grid) * (1 - s) + grid * s) / (
            std(grid) * std(s)
        )  # correlation of x_t and x_s
        exact = (grid * size**2 * (1 - alike) / (grid - s)).mean()
        assert (mean - exact).abs() < 3.5 * error
        falls.append(exact)
    assert 2 < falls[1] / falls[2] < falls[0] / falls[1] < 2.4
