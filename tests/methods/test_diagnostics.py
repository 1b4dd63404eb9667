"""Diagnostics: figures by level of noise, the boundary error, and the coverage of the data."""

import math

import pytest
import torch

from fastdiff.core.schedule import Flow
from fastdiff.data.toys import mixture, toy
from fastdiff.methods.diagnostics import boundary, by_level, coverage, spread
from fastdiff.methods.ect import ECT
from tests.helpers.consistency import SIZE, data, exact, std
from tests.helpers.oracles import MIDDLE, batch_of

# ---- distances and health figures


def test_a_figure_by_level():
    figures = by_level("e", torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0.1, 0.3, 1.0]).double())
    assert figures["e"] == 4 and [float(figures[f"e_{k}"]) for k in ("low", "mid", "high")] == [2, 0, 8]


def test_a_figure_by_level_keeps_what_is_not_finite_in_its_level():
    figures = by_level("e", torch.tensor([1.0, math.inf, 8.0]), torch.tensor([0.1, 0.5, 1.0]).double())
    assert [float(figures[k]) for k in ("e_low", "e_mid", "e_high")] == [1, math.inf, 8]


def test_the_boundary_error_is_that_of_clean_predictions_near_the_data():
    schedule, x0 = Flow(), torch.zeros(3, 4)
    t, f = (
        torch.tensor([0.01, 0.05, 0.5], dtype=torch.float64),
        torch.tensor([[1.0], [3.0], [100.0]]).expand(3, 4),
    )
    assert boundary(schedule, t, f, x0)["boundary"] == 2
    assert boundary(schedule, t[2:], f[2:], x0[2:])["boundary"] == 0
    student, x0 = exact(schedule), data(4096)
    _, logs = ECT().loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    (x, t, _, _), _ = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    near = t / (1 - t) < 0.1
    torch.testing.assert_close(
        logs["boundary"], (SIZE / std(schedule, t) * x[:, 0] - x0[:, 0]).abs()[near].mean()
    )


# ---- coverage


def test_coverage_of_ten_numbers_in_a_row():
    """Their fifth neighbours are 5, 4, 3, 3, 3, 3, 3, 3, 4, 5 away:
    a sample at -1 is near the first three."""
    real = torch.arange(10.0)[:, None]
    for made_at, share in (([-1.0], 0.3), ([-3.0], 0.2), ([100.0], 0.0), ([-1.0, 12.0], 0.5), ([4.5], 1.0)):
        assert coverage(real, torch.tensor(made_at)[:, None]) == pytest.approx(share), made_at
    assert coverage(real[:7], torch.tensor([[3.5]])).isnan()  # so few say nothing
    assert coverage(torch.where(real == 3, torch.nan, real), real).isnan()
    assert spread(torch.tensor([[0.0, 1.0], [2.0, 3.0]])) == 1 and spread(torch.zeros(3, 1, 2, 2)) == 0


@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
def test_coverage_of_equal_distributions_is_what_counting_says(draw):
    """An example is missed where its five nearest, of all the others and the samples, are real ones:
    whatever these are."""
    torch.manual_seed(0)
    found = torch.stack([coverage(draw(100, 2, 2), draw(100, 2, 2)) for _ in range(300)])
    expected = 1 - math.prod((99 - k) / (199 - k) for k in range(5))
    assert 0.969 < expected < 0.973 and abs(found.mean() - expected) < 4 * found.std() / 300**0.5


def test_coverage_of_one_mode_is_about_its_weight():
    means, stds, weights = mixture()
    real = toy(n=2000).examples
    for mode in (3, 7):
        found = coverage(real, means[mode] + stds[mode] * torch.randn(2000, 2))
        assert float(found) == pytest.approx(float(weights[mode]), abs=0.03)
