"""Shortcut models: a jump is two jumps of half its length, and the shortest follow the velocity."""

import pytest
import torch

from fastdiff.core.schedule import Cosine, Flow
from fastdiff.methods import Progress
from fastdiff.methods.shortcut import Shortcut
from tests.helpers.flow_maps import average, data, exact, of_velocity, slopes
from tests.helpers.oracles import MIDDLE, batch_of, named


def composed(schedule, steps):
    """k of a student whose shortest jumps follow the velocity and whose others are two of half their
    length."""

    def k(t, s):
        d, here, there = (t - s) / schedule.t_max, schedule.straight(t), schedule.straight(s)
        base, out = average(here, here), torch.empty_like(t)
        short = d < 1.5 / steps
        out[short] = base[short]
        if (~short).any():
            t, s, here, there = (v[~short] for v in (t, s, here, there))
            mid = (t + s) / 2
            line = schedule.straight(mid)
            first, second = k(t, mid), k(mid, s)
            out[~short] = ((here - line) * first + (line - there) * second * (1 - (here - line) * first)) / (
                here - there
            )
        return out

    return lambda: of_velocity(k, schedule)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_its_jumps_has_no_gradient(schedule):
    method = Shortcut(steps=16, share=0.5)
    make = composed(schedule, 16)
    nets = {"student": make(), "target": make().requires_grad_(False)}
    _, logs = method.loss(("student",), nets, batch_of(data(512)), MIDDLE)
    assert logs["self_error"] < 1e-24 and logs["flow"] > 0.1
    (_, still), (up, high), (down, low) = slopes(method, make)
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


def test_shortest_jumps_and_their_doubles_on_the_grid():
    schedule, n = Cosine(), 8192
    student, target = exact(schedule), exact(schedule)
    Shortcut().loss(("student",), {"student": student, "target": target}, batch_of(data(n)), MIDDLE)
    ((_, t, s, _),), (first, second) = student.net.asked, target.net.asked
    d, size = t - s, 1 / 128
    assert (t / d == (t / d).round()).all() and (s >= 0).all() and (t <= 1).all()
    long = d > size
    share = torch.bincount((d[long] * 64).log2().long(), minlength=7) / long.sum()
    assert abs(long.double().mean() - 1 / 8) < 4 * (7 / 64 / n) ** 0.5 and set(d[~long].tolist()) == {size}
    assert ((share - 1 / 7).abs() < 4 * (6 / 49 / long.sum()) ** 0.5).all()
    assert t[long & (d == 1)].unique().tolist() == [1.0] and len(t[~long].unique()) == 128
    halves = [first[1] - first[2], second[1] - second[2]]
    assert (
        torch.equal(first[1], t[long])
        and torch.equal(first[2], second[1])
        and torch.equal(second[2], s[long])
    )
    assert torch.equal(*halves) and torch.equal(halves[0], d[long] / 2)


def test_a_batch_of_shortest_jumps_asks_no_average():
    student = exact(Flow())
    loss, logs = Shortcut(share=1e-9).loss(
        ("student",), {"student": student, "target": None}, batch_of(data(8)), MIDDLE
    )
    assert loss.isfinite() and set(logs) == {"flow"}
    assert Shortcut().target_emas()["target"](Progress(10**6, 10**6, 0)) == 0.999
    assert Shortcut().target_emas()["target"](Progress(0, 100, 0)) == 0.1
