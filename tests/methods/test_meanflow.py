"""MeanFlow and improved MeanFlow against the mean velocity of a Gaussian."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.extra_inputs import with_second_time
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import SCHEDULES, VP, Cosine, Flow, Karras
from fastdiff.methods.base import LogitNormal, Uniform
from fastdiff.methods.meanflow import IMF, MeanFlow, velocity_of
from fastdiff.methods.teacher_steps import guided
from fastdiff.networks import MLP, mlp
from tests.helpers.flow_maps import data, exact, gaussian, slopes
from tests.helpers.oracles import MIDDLE, batch_of, named

SCHEDULES_HERE = pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP()], **named)


@SCHEDULES_HERE
@pytest.mark.parametrize(
    "method",
    [MeanFlow(p=0.0), IMF(p=0.0), MeanFlow(p=0.0, times=Uniform(), share=0.0)],
    ids=["meanflow", "imf", "uniform"],
)
def test_the_mean_velocity_has_no_gradient_and_others_point_back(method, schedule):
    """With the squared distance (p = 0), whose mean over the data's noise the paper's identity is about."""
    (_, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule))
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


@SCHEDULES_HERE
def test_differences_see_the_same_truth(schedule):
    (_, still), (up, _), (down, _) = slopes(MeanFlow(p=0.0, differences=1e-3), lambda: exact(schedule))
    assert abs(still) < 3 and up > 0 > down


def double_student(schedule, predicts="v"):
    """A network of two times in float64 with every weight drawn."""
    torch.manual_seed(3)
    net = MLP(2, 16, 2, two_times=True).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return Denoiser(net, schedule, predicts, (2,), time_input="time", two_times=True)


@pytest.mark.parametrize("name", ["flow", "cosine", "vp", "karras", "trig", "ddpm", "sigmoid"])
@pytest.mark.parametrize("method", [MeanFlow(p=0.0, share=0.1), IMF(p=0.0)], ids=["meanflow", "imf"])
def test_the_derivative_is_that_of_central_differences(method, name):
    """Along z = (1 - t) x + t e with r held, whatever schedule the student is on;
    and the loss is made of it."""
    schedule = SCHEDULES[name]()
    if name == "karras":  # whose clock the network's waves are not made for
        schedule = Karras(t_max=3.0)
    student, x0 = double_student(schedule), torch.randn(64, 2, dtype=torch.float64)
    batch = batch_of(x0)
    t, r = method.pair(batch.rng, schedule)
    e = batch.rng.normal((2,)).double()
    tau, rho = schedule.straight(t), schedule.straight(r)
    path = method.path(student, schedule.mix(x0, e, t), t, None, (x0, e))

    def u(line):
        own = schedule.time_of(line / (1 - line))
        p = student(schedule.mix(*path, own), own, r)
        return p.eps - p.x0

    with torch.no_grad():
        h = 1e-6 * torch.minimum(tau, 1 - tau)
        wanted = (u(tau + h) - u(tau - h)) / like(2 * h, x0)
        found = method.derivative(student, path, t, r, None)
        smooth = torch.ones(64, dtype=torch.bool)
        if name == "ddpm":  # a table's alpha has corners
            smooth = (t - t.round()).abs() > 1e-3
        torch.testing.assert_close(found[smooth], wanted[smooth], rtol=1e-4, atol=1e-5)
        loss, logs = method.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
        error = u(tau) - (e - x0) + like(tau - rho, x0) * found
        torch.testing.assert_close(loss, error.square().sum(1).mean(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            logs["boundary"], error[tau == rho].square().sum(1).mean(), rtol=1e-6, atol=1e-9
        )
        rough = type(method)(p=0.0, differences=1e-4).derivative(student, path, t, r, None)
        inside = (tau - rho > 2e-4) & (tau < schedule.straight(torch.tensor(schedule.t_max)) - 2e-4)
        if name != "ddpm":
            torch.testing.assert_close(rough[inside], found[inside], rtol=2e-2, atol=2e-2)


def test_times_are_sorted_and_equal_in_their_share():
    for schedule in (Flow(), VP(), Cosine()):
        t, r = MeanFlow().pair(SampleRng(0, torch.arange(20_000)), schedule)
        assert (r <= t).all() and (r > 0).all() and (t <= schedule.t_max).all()
        assert abs((r == t).double().mean() - 0.25) < 4 * (0.1875 / 20_000) ** 0.5
    rng = SampleRng(0, torch.arange(20_000))
    draws = torch.stack([MeanFlow().times.draw(rng, Flow())[0] for _ in range(2)])
    torch.testing.assert_close(Cosine().straight(t), draws.amax(0))
    torch.testing.assert_close(Cosine().straight(r)[r < t], draws.amin(0)[r < t])
    assert MeanFlow().times == LogitNormal(-2.0, 2.0) and IMF().share == 0.5


@pytest.mark.parametrize(("p", "c"), [(0.75, 1e-3), (1.0, 1e-2), (0.0, 1e-3)])
def test_the_adaptive_weight_is_of_the_sum_and_has_no_gradient(p, c):
    """A loss of S^(1 - p), but whose gradient is that of S alone."""
    student, x0 = double_student(Flow(), "velocity"), torch.randn(32, 2, dtype=torch.float64)
    parameters = list(student.parameters())
    plain, weighted = MeanFlow(p=0.0), MeanFlow(p=p, c=c)
    total = 0.0
    for row in range(32):  # one sample at a time: its weight is a number
        rng = SampleRng(0, torch.tensor([row]))
        batch = batch_of(x0[row : row + 1])
        batch.rng = rng
        S = plain.loss(("student",), {"student": student}, batch, MIDDLE)[0]
        total = total + S / (S.detach() + c) ** p / 32
    wanted = torch.autograd.grad(total, parameters)
    found = torch.autograd.grad(
        weighted.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)[0], parameters
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


# ---- laws of their own, a teacher's velocity, guidance


def test_r_of_a_law_of_its_own_is_cut_at_t():
    method = MeanFlow(times=LogitNormal(-0.6, 1.6), end_times=LogitNormal(-4.0, 1.6), share=0.1)
    t, r = method.pair(SampleRng(0, torch.arange(20_000)), Cosine())
    t, r = (Cosine().straight(time) for time in (t, r))
    assert (r <= t).all()
    logit = t.logit()
    assert abs(logit.mean() + 0.6) < 0.05 and abs(logit.std() - 1.6) < 0.05
    below = r[r < t].logit()
    assert below.median() < -3.5
    # P(r >= t) of two normals, and the share of r = t besides
    cut = 0.5 * math.erfc(3.4 / 1.6 / 2)
    assert abs((r == t).double().mean() - (0.1 + 0.9 * cut)) < 0.01


@SCHEDULES_HERE
def test_with_a_teachers_velocity_each_example_is_at_rest_on_the_flow_map(schedule):
    """Unlike a sample's velocity, whose noise only averages out."""
    x0 = data(256)
    for method, factor in ((MeanFlow(p=0.0), None), (MeanFlow(p=0.0, velocity="teacher"), 1e-4)):
        nets = {"student": exact(schedule), "teacher": gaussian(schedule)}
        loss, _ = method.loss(("student",), nets, batch_of(x0), MIDDLE)
        bound = factor or loss
        assert loss <= bound
        if factor is None:
            assert loss > 0.01
    assert MeanFlow(velocity="teacher").needs_teacher and not MeanFlow().needs_teacher


def labelled_model():
    torch.manual_seed(5)
    model = with_second_time(Denoiser(mlp((2,), width=16, classes=3), Flow(), "velocity", (2,))).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def test_the_guided_velocity_is_the_papers_inside_its_interval():
    """omega v + kappa u(z, t, t) + (1 - omega - kappa) u_null(z, t, t), and v for dropped labels."""
    model = labelled_model()
    method = MeanFlow(omega=1.5, kappa=0.25, interval=(0.3, 0.8))
    t = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    x0, e = (torch.randn(4, 2, dtype=torch.float64) for _ in range(2))
    z, cond = Flow().mix(x0, e, t), {"label": torch.tensor([0, 1, 2, 0])}
    drop = torch.tensor([False, False, True, False])
    with torch.no_grad():
        line = method.line({"student": model}, z, t, cond, drop, (x0, e))
        own, null = (velocity_of(model(z, t, t, c)) for c in (cond, model.null(cond)))
    v = e - x0
    wanted = torch.where((torch.arange(4) == 1)[:, None], 1.5 * v + 0.25 * own - 0.75 * null, v)
    torch.testing.assert_close(velocity_of(line), wanted)
    torch.testing.assert_close(Flow().mix(*line, t), z)


def test_a_teachers_velocity_is_guided_by_omega():
    model = labelled_model()
    t = torch.tensor([0.4, 0.6], dtype=torch.float64)
    z, cond = torch.randn(2, 2, dtype=torch.float64), {"label": torch.tensor([0, 1])}
    method = MeanFlow(velocity="teacher", omega=2.0)
    with torch.no_grad():
        line = method.line({"student": model, "teacher": model}, z, t, cond, None, (z, z))
        wanted = guided(model, z, t, t, cond, 2.0)
    torch.testing.assert_close(velocity_of(line), velocity_of(wanted))
    assert method.teacher_nfe() == 2
    with pytest.raises(FastdiffError, match="kappa = 0.5: expected 0 with a teacher's velocity"):
        MeanFlow(velocity="teacher", kappa=0.5)
