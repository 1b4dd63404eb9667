"""Consistency trajectory models against the exact trajectory."""

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.schedule import SCHEDULES, VP, Cosine, Flow, Karras
from fastdiff.methods.base import heun
from fastdiff.methods.ctm import CTM, jump
from tests.helpers.flow_maps import SIZE, data, exact, gaussian, slopes
from tests.helpers.oracles import MIDDLE, batch_of, named


def agreement(schedule, points):
    nets = {
        "student": exact(schedule),
        "target": exact(schedule).requires_grad_(False),
        "teacher": gaussian(schedule),
    }
    losses = (
        CTM(points=points).loss(("student",), nets, batch_of(data(512, k), k), MIDDLE) for k in range(12)
    )
    found = [logs["agreement"] for _, logs in losses]
    return float(torch.stack(found).detach().mean())


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
def test_the_exact_trajectory_agrees_as_the_teachers_steps_shrink(schedule):
    coarse, fine = agreement(schedule, 18), agreement(schedule, 72)
    assert fine < coarse / 16 and fine < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
@pytest.mark.parametrize("method", [CTM(dsm=0.0, points=40), CTM()], ids=["agreement", "both"])
def test_ctm_points_back_to_the_trajectory(method, schedule):
    (zero, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule), n=1024, batches=24)
    assert up > 0 > down and high > 4 and low < -4
    assert abs(zero) < 0.1 * (up - down) or abs(still) < 3


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_denoising_score_matching_has_no_gradient_at_the_truth(schedule):
    method = CTM()
    method.distance = lambda a, b: 0 * (a - b).flatten(1).sum(1)
    (_, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule))
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


def test_the_times_of_ctm():
    schedule, method = Cosine(), CTM(points=9)
    for other in (Flow(), Karras(), SCHEDULES["ddpm"](), SCHEDULES["sigmoid"](), VP()):
        grid = method.time(other, torch.arange(9).double())
        assert (
            grid[0].abs() < 1e-9
            and abs(grid[-1] - other.t_max) < 1e-6 * other.t_max
            and (grid.diff() > 0).all()
        )
    torch.testing.assert_close(method.time(schedule, torch.arange(9).double()), torch.arange(9).double() / 8)
    lengths = set()
    for seed in range(40):
        student, target, teacher, seen = exact(schedule), exact(schedule), gaussian(schedule), []
        ask = lambda *a, seen=seen, teacher=teacher: seen.append(a) or teacher(*a)  # noqa: E731
        nets = {"student": student, "target": target, "teacher": ask}
        method.loss(("student",), nets, batch_of(data(64, seed), seed), MIDDLE)
        ((_, t, s, _),) = student.net.asked
        (t, low), (s, same) = t.split(64), s.split(64)
        assert torch.equal(low, same) and (low > 0).all()
        steps, u = len(seen) // 2, seen[-1][1]  # u: where the last step ends
        torch.testing.assert_close(t - u, torch.full_like(t, steps / 8))
        assert (s <= u).all() and (s >= 0).all() and (t <= 1).all() and (t == 1).any() and (s == 0).any()
        torch.testing.assert_close(target.net.asked[1][1][u > s], u[u > s])
        lengths.add(steps)
    assert lengths == set(range(1, 9))
    assert CTM(points=9).teacher_nfe() == 9 == 2 * sum(range(1, 9)) / 8


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
def test_a_jump_lands_on_the_trajectory_and_stays_where_it_is(schedule):
    t, s = (schedule.t_max * torch.tensor(v).double() for v in ([0.8, 0.5, 0.5, 0.0], [0.1, 0.0, 0.5, 0.0]))
    x = torch.ones(4, 1).double()

    def std(t):
        alpha, sigma = schedule.alpha_sigma(t)
        return ((SIZE * alpha) ** 2 + sigma**2).sqrt()

    torch.testing.assert_close(jump(exact(schedule), x, t, s, None), x * like(std(s) / std(t), x))
    errors = [
        float(
            (
                heun(gaussian(schedule), schedule, x[:1], t[:1], t[:1] * (1 - h), None)
                - x[:1] * std(t[:1] * (1 - h)) / std(t[:1])
            ).abs()
        )
        for h in (0.1, 0.05)
    ]
    assert 6 < errors[0] / errors[1] < 10  # third order in one step
