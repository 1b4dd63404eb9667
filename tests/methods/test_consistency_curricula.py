"""Curricula of the consistency family: grids that grow, gaps that shrink, and their weights."""

import math

import pytest
import torch

from fastdiff.core.schedule import Cosine, Karras
from fastdiff.methods import Progress
from fastdiff.methods.base import SquaredL2
from fastdiff.methods.consistency_curricula import CT, ICT
from tests.helpers.consistency import data, exact
from tests.helpers.oracles import MIDDLE, batch_of, told

# ---- consistency


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
