"""Truncated consistency models: the second stage trains above its edge alone."""

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import ratio_of
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.methods.base import SquaredL2
from fastdiff.methods.ect import ECT
from fastdiff.methods.tcm import TCM
from fastdiff.networks import mlp
from fastdiff.samplers.plan import plan
from tests.helpers.consistency import SIZE, data, energy, exact, std, trained
from tests.helpers.oracles import MIDDLE, batch_of, told

# ---- truncated


def test_tcm_trains_above_its_edge_and_asks_stage_one_below():
    schedule, asked = Cosine(), []
    student, stage_one = exact(schedule), told(lambda x, t, s: torch.full_like(x, 7.0), schedule, "v", (1,))
    method = TCM(start=0.3, distance=SquaredL2())
    loss, logs = method.loss(
        ("student",), {"student": student, "stage_one": stage_one}, batch_of(data(8000)), MIDDLE
    )
    (x, t, _, _), (near, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    edge = float(method.edge(schedule))
    assert edge == pytest.approx(0.5) and (t >= edge * (1 - 1e-12)).all()  # sigma = alpha
    on = t == method.edge(schedule)
    assert abs(on.double().mean() - 0.25) < 3 * (0.1875 / 8000) ** 0.5
    target = torch.where(s[:, None] < edge, 7.0, like(SIZE / std(schedule, s), near) * near)
    gap = ratio_of(schedule, t) - ratio_of(schedule, s)
    error = (like(SIZE / std(schedule, t), x) * x - target).square()[:, 0] / gap
    wanted = (error * ~on).mean() / 0.75 + 0.1 * (
        error * on
    ).mean() / 0.25  # the means of both kinds, on average
    torch.testing.assert_close(loss, wanted)
    assert logs["boundary"] > 1 and not asked


def test_tcm_keeps_a_frozen_copy_of_its_teacher_and_refuses_others():
    student, teacher = exact(Cosine()).train(), exact(Cosine()).eval()
    with pytest.raises(FastdiffError, match="second stage"):
        TCM().frozen_networks(student, teacher)
    teacher.sampling = Sampling("consistency")
    copy = TCM().frozen_networks(student, teacher)["stage_one"]
    assert copy is not teacher and copy.training and not teacher.training
    times = plan(Denoiser(mlp((2,)), Cosine(), "v", (2,), sampling=TCM().sampling()), None, 2, None, {})
    torch.testing.assert_close(
        ratio_of(Cosine(), times.times[:2]), torch.tensor([80.0, 1.0], dtype=torch.float64)
    )


# ---- learning: 300 steps on the toy mixture


@pytest.mark.long
def test_the_second_stage_learns(start, tmp_path):
    one = trained(ECT(), start, None, tmp_path / "one")
    two = trained(TCM(), one, one, tmp_path / "two")
    assert energy(two, 1) < 0.1 * energy(start, 1, "consistency") and energy(two, 2) < energy(two, 1)
    assert energy(two, 1) < 1.2 * energy(one, 1)
