"""Inductive moment matching against its algebra, the Gaussian's exact flow map, and the toy."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.data.registry import batch_at
from fastdiff.data.toys import toy
from fastdiff.methods import METHODS
from fastdiff.methods.base import LogitNormal
from fastdiff.methods.imm import IMM, laplace
from fastdiff.networks import MLP, mlp
from fastdiff.runs import recipe
from fastdiff.samplers.plan import plan
from tests.helpers.flow_maps import data, energy, exact, trained
from tests.helpers.oracles import MIDDLE, Dropping, batch_of, named
from tests.helpers.paths import ROOT

EVERY = pytest.mark.parametrize(
    "schedule", [Flow(), Cosine(), VP(), DDPM(), Karras(), Sigmoid(), Trig()], **named
)


def student_of(schedule, seed=3, **options):
    """A network of two times in float64 with every weight drawn."""
    torch.manual_seed(seed)
    net = MLP(2, 16, 2, two_times=True, **options).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return Denoiser(net, schedule, "v", (2,), time_input="time", two_times=True)


# ---- the paper's algebra


def test_the_loss_is_the_papers_double_sum():
    """Sample by sample and pair by pair, on the straight line that the paper is written on."""
    method, student, x0 = IMM(M=4, k=6), student_of(Flow()), torch.randn(24, 2, dtype=torch.float64)
    loss, logs = method.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    batch = batch_of(x0)
    t, s, r = (time[:6].repeat(4) for time in method.draw(batch.rng, Flow()))
    eps = batch.rng.normal((2,)).double()

    def f(time):
        z = (1 - time[:, None]) * x0 + time[:, None] * eps
        p = student(z, time, s)
        return (1 - s[:, None]) * p.x0 + s[:, None] * p.eps

    with torch.no_grad():
        y, y_r, total = f(t), f(r), 0.0
    for g in range(6):
        T, S, rows = float(t[g]), float(s[g]), range(g, 24, 6)
        c_out = (T - S) / (T**2 + (1 - T) ** 2) ** 0.5
        weight = (
            0.5
            / (1 + math.exp(2 * math.log((1 - T) / T) - 5))
            * 2
            / (T * (1 - T))
            * (1 - T)
            / (T**2 + (1 - T) ** 2)
        )

        def k(a, b, c_out=c_out):
            return math.exp(-max(float((a - b).norm()), 1e-8) / c_out / 2)

        total += (
            weight
            * sum(k(y[i], y[j]) + k(y_r[i], y_r[j]) - 2 * k(y[i], y_r[j]) for i in rows for j in rows)
            / 16
            / 6
        )
    assert abs(loss.item() - total) < 1e-9 * abs(total) + 1e-12
    assert logs["gap"] > 0 and logs["mmd"] > 0


@EVERY
def test_times_fall_and_the_gap_is_of_the_noise_ratio(schedule):
    method = IMM(k=8)
    t, s, r = method.draw(SampleRng(0, torch.arange(20_000)), schedule)
    assert (s >= 0).all() and (s <= r).all() and (r <= t).all() and (t <= schedule.t_max).all()
    far, near, end = (schedule.straight(time) for time in (t, r, s))
    inside = (r > s) & (far < 0.98)
    gap = far / (1 - far) - near / (1 - near)
    torch.testing.assert_close(gap[inside], torch.full_like(gap[inside], 160 / 256), rtol=1e-3, atol=1e-4)
    assert abs((end / far).mean() - 0.5) < 0.01 and abs(far.mean() - 0.503) < 0.02


def test_the_kernel_is_one_at_no_distance_and_its_gradient_finite():
    a = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    reach = torch.tensor([1.0, 0.1, 1e-9]).double()
    k = laplace(a, a.detach(), reach)
    torch.testing.assert_close(k[:2].diagonal(dim1=1, dim2=2), torch.ones(2, 4).double(), rtol=0, atol=1e-6)
    assert (k >= 0).all() and (k <= 1).all() and torch.equal(k, k.mT)
    k.sum().backward()
    assert a.grad.isfinite().all() and a.grad[0].abs().max() > 0


# ---- at the truth


def slope(method, schedule, tilt, n=4096, batches=12):
    """Mean gradient of the loss in the student's tilt, and its standard error."""
    student = exact(schedule)
    with torch.no_grad():
        student.net.tilt.fill_(tilt)
    each = torch.stack(
        [
            torch.autograd.grad(
                method.loss(("student",), {"student": student}, batch_of(data(n, seed), seed), MIDDLE)[0],
                student.net.tilt,
            )[0]
            for seed in range(batches)
        ]
    )
    return float(each.mean()), float(each.std() / batches**0.5)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP()], **named)
def test_the_flow_map_has_no_gradient_and_others_point_back(schedule):
    """Of large groups: a sample's own pair, which is consistency training's, counts for 1 / M."""
    method = IMM(M=64, k=6)
    (still, error), (up, high), (down, low) = (slope(method, schedule, tilt) for tilt in (0.0, 0.1, -0.1))
    assert up > 5 * high and down < -5 * low
    assert abs(still) < 3 * error or abs(still) < 0.05 * (up - down)


def test_what_is_left_at_the_truth_falls_with_the_groups_size():
    found = [abs(slope(IMM(M=m, k=6), Flow(), 0.0, batches=24)[0]) for m in (1, 4, 16)]
    assert found[1] < found[0] / 2 and found[2] < found[1] / 2


# ---- groups


def test_two_processes_have_the_groups_of_one():
    student, points = student_of(Cosine()).float(), toy(n=500)

    def loss(rank, world):
        batch = batch_at(points, 96, 32, 0, rank=rank, world=world)
        return IMM(M=4, k=6).loss(("student",), {"student": student}, batch, MIDDLE)[0]

    for world in (2, 4, 8):
        torch.testing.assert_close(sum(loss(rank, world) for rank in range(world)) / world, loss(0, 1))


def test_a_batch_that_makes_no_groups_is_refused():
    with pytest.raises(
        FastdiffError, match="imm: 10 samples cannot be divided into groups of M = 4"
    ) as caught:
        IMM().loss(("student",), {"student": exact(Flow())}, batch_of(data(10)), MIDDLE)
    assert "\n" not in str(caught.value)


def test_no_gap_is_no_gradient_with_dropout_on():
    """r = t: both passes share their mask, so that they land alike."""
    torch.manual_seed(0)
    net = Dropping(2, 16, 1, two_times=True)
    nn.init.normal_(net.last.weight)
    student = Denoiser(net, Cosine(), "v", (2,), two_times=True).train()
    before = torch.random.get_rng_state()
    loss, logs = IMM(k=200).loss(("student",), {"student": student}, batch_of(torch.randn(16, 2)), MIDDLE)
    loss.backward()
    assert abs(loss) < 1e-5 and logs["self_error"] == 0
    assert net.last.weight.grad.abs().max() < 1e-4
    assert not torch.equal(torch.random.get_rng_state(), before)  # and the next step gets another


def test_labels_reach_both_passes():
    student = exact(Flow())
    labels = torch.arange(8) % 3
    IMM().loss(("student",), {"student": student}, batch_of(data(8), cond={"label": labels}), MIDDLE)
    assert len(student.net.asked) == 2 and all(
        torch.equal(cond["label"], labels) for *_, cond in student.net.asked
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IMM(M=0), "M = 0"),
        (lambda: IMM(k=-1), "k = -1"),
        (lambda: IMM(span=0.0), "span = 0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_its_recipe_and_its_sampler():
    (stage,) = recipe.load(ROOT / "recipes/methods/imm.yaml").stages
    assert (
        METHODS["imm"] is IMM
        and stage.method == IMM(k=8)
        and stage.init == "checkpoints/digits-labels/teacher"
    )
    student = stage.method.student(
        Denoiser(mlp((2,), width=8), Cosine(), "v", (2,), sampling=stage.method.sampling())
    )
    assert (
        student.two_times
        and [plan(student, None, k, None).sampler for k in student.sampling.steps] == ["ddim"] * 4
    )


# ---- learning


@pytest.mark.long
def test_it_learns_the_toy(starts, tmp_path):
    student = trained(IMM(k=8, times=LogitNormal(1.0, 1.5)), deepcopy(starts["time"]), tmp_path, lr=2e-3)
    before, (one, two) = energy(starts["time"], 1), (energy(student, k) for k in (1, 2))
    print("imm", round(before, 4), round(one / before, 4), round(two / before, 4))
    assert one < 0.25 * before and two < one
