"""Curricula of the consistency family: grids that grow, gaps that shrink, and their weights."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine, Karras
from fastdiff.data.toys import toy
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import SquaredL2, Uniform
from fastdiff.methods.consistency import CD, CT, ECT, ICT
from fastdiff.methods.time_sampling import KarrasIndex
from fastdiff.networks import mlp
from fastdiff.runs.origin import non_default_settings
from tests.helpers.consistency import data, exact, gaussian, rng
from tests.helpers.oracles import MIDDLE, batch_of, told

# ---- consistency


def test_the_gap_halves_in_equal_shares_of_the_training():
    method = ECT(start=0.5, halvings=4)
    gaps = [method.gap(Progress(step, 1000, 0)) for step in range(1000)]
    assert gaps == [0.5 / 2 ** (step // 200) for step in range(1000)]
    assert method.gap(Progress(1000, 1000, 0)) == gaps[-1] == 0.5 / 2**4
    assert ECT(halvings=0).gap(MIDDLE) == 0.5


def test_settings_that_cannot_train_are_refused():
    for settings in ({"start": 0.0}, {"start": 1.5}):
        with pytest.raises(FastdiffError, match=next(iter(settings))):
            ECT(**settings)


# ---- curricula


def test_the_grids_of_ct_grow_by_the_papers_formula_and_its_average_slows():
    method, K = CT(), 800
    for k in (0, 1, 100, 399, 799):
        N = math.ceil(math.sqrt(k / K * (151**2 - 2**2) + 2**2) - 1) + 1
        progress = Progress(k, K, 0)
        assert method.points(progress) == N
        assert method.target_emas()["target"](progress) == pytest.approx(
            math.exp(2 * math.log(0.9) / (N - 1))
        )
    assert (method.points(Progress(0, K, 0)), method.points(Progress(K, K, 0))) == (2, 151)


def test_the_grids_of_ict_double_in_equal_shares():
    K = 400
    assert [ICT().points(Progress(k, K, 0)) for k in range(0, K, 50)] == [10 * 2**j + 1 for j in range(8)]
    assert (
        ICT().points(Progress(K - 1, K, 0)) == 1281 and ICT(s0=10, s1=50).points(Progress(K - 1, K, 0)) == 51
    )


@pytest.mark.parametrize("method", [CT, ICT])
def test_pairs_of_growing_grids(method):
    x0, student = data(4000), exact(Cosine())
    for progress in (Progress(0, 100, 0), MIDDLE):
        student.net.asked.clear()
        made = method()
        nets = {"student": student, **dict.fromkeys(made.target_emas(), student)}
        made.loss(("student",), nets, batch_of(x0), progress)
        (_, t, zero, _), (_, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
        law = type(made.times)(points=made.points(progress))
        grid = Cosine().time_of(law.ratios(Cosine()))
        assert len(grid) == made.points(progress) and torch.isin(t, grid[1:]).all() and (zero == 0).all()
        assert torch.equal(grid[torch.searchsorted(grid, t) - 1], s)


def test_the_weight_of_ict_is_the_reciprocal_of_the_gap_in_sigma():
    schedule, x0, progress = Karras(), data(512), Progress(0, 100, 0)
    student = told(lambda x, t, s: x * 0.5, schedule, "edm", (1,))
    loss, _ = ICT(distance=SquaredL2()).loss(("student",), {"student": student}, batch_of(x0), progress)
    (x, t, _, _), (near, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    torch.testing.assert_close(loss, ((x - near)[:, 0].square() / 4 / (t - s)).mean())


def test_the_pairs_of_a_grid_weigh_1_in_cd():
    student = told(lambda x, t, s: x * 0.5, Cosine(), "v", (1,))
    nets = {"student": student, "teacher": gaussian(Cosine())}
    loss, _ = CD(times=KarrasIndex(), distance=SquaredL2()).loss(
        ("student",), nets, batch_of(data(512)), MIDDLE
    )
    (x, *_), (near, *_) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    torch.testing.assert_close(loss, ((x - near).square() / 4).mean())


def test_the_papers_map_of_ect():
    """r(t) = t (1 - q^-(stage + 1) (1 + 8 sigmoid(-t))), q = 2, clamped at 0;
    a stage every so many images."""
    method, t = ECT(k=8.0, images=1000), torch.tensor([0.01, 0.5, 2.0, 40.0], dtype=torch.float64)
    for images, stage in ((0, 0), (999, 0), (1000, 1), (3500, 3), (10**6, 8)):
        wanted = (t * (1 - 2.0 ** -(stage + 1) * (1 + 8 * torch.sigmoid(-t)))).clamp(min=0)
        torch.testing.assert_close(method.earlier_time(Karras(), t, Progress(500, 1000, images)), wanted)
    assert method.earlier_time(Karras(), t, Progress(0, 1000, 0))[0] == 0
    student = Denoiser(mlp((2,), width=16), Karras(), "edm", (2,), time_input="edm", scale_input=True)
    loss, _ = method.loss(
        ("student",), {"student": student}, batch_of(toy(n=512).examples), Progress(0, 1000, 0)
    )
    assert torch.isfinite(loss)  # s = 0 is among the times


def test_ect_and_cd_are_what_they_were():
    """The very numbers of the plain formula; and the shipped students' settings, so that none is stale."""
    assert (
        non_default_settings(METHODS["ect"](halvings=6))
        == {"halvings": 6}
        == non_default_settings(CD(halvings=6))
    )
    net, schedule, x0 = mlp((2,), width=16), Cosine(), toy(n=64).examples
    nn.init.normal_(net.last.weight)
    student, noise = Denoiser(net, schedule, "v", (2,)), rng(64)
    loss, _ = ECT().loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    t, _ = Uniform().draw(noise, schedule, None)
    s, eps = t * (1 - 0.5 * 2.0**-4), noise.normal((2,))
    f, near = (student(schedule.mix(x0, eps, u), u).x0 for u in (t, s))
    huber = ((f - near).square().sum(1) + (0.00054 * 2**0.5) ** 2).sqrt() - 0.00054 * 2**0.5
    assert torch.equal(loss, (huber * schedule.t_max / (t - s)).mean())
