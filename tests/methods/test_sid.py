"""Score identity distillation against the derivative of its expression."""

import pytest
import torch

from fastdiff.methods.sid import SiD
from tests.helpers.matching import OWN, TRUTH, VARIANTS, At, agree, divided, judged, mean_slope, slope, whole

pytestmark = pytest.mark.usefixtures("large_batches")


def score_identity(alpha):
    """The derivative in x of <real - fake, real - x - alpha (real - fake)>, whose networks are frozen."""
    return lambda x, real, fake, dreal, dfake: (
        (dreal - dfake) * (real - x - alpha * (real - fake))
        + (real - fake) * (dreal - 1 - alpha * (dreal - dfake))
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@VARIANTS
def test_sid_has_the_derivative_of_its_expression(alpha, wrong):
    judged(SiD, divided(score_identity(alpha)), wrong, {"alpha": alpha})


def test_sid_that_does_not_lead_through_the_networks_or_has_another_alpha_is_found():
    class Short(SiD):
        backprop_through_scores = False

    expected = divided(score_identity(1.0))
    assert not agree(slope(Short(times=At(), alpha=1.0)), expected)
    assert not agree(slope(SiD(times=At(), alpha=1.3)), expected)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
def test_sid_pulls_the_mean_with_half_of_fishers_divergence_whatever_alpha(alpha, monkeypatch):
    """Where the widths are alike; at alpha = 1 / 2 in any case. Fisher's is E |real - fake|^2,
    the fake following."""
    whole(monkeypatch)

    def fisher(truth):
        def divergence(numbers, ratio):
            (m, r), (n, s) = truth, numbers
            gain, own = (width**2 / (width**2 + ratio**2) for width in (r, s))
            return (((1 - gain) * (m - n)) ** 2 + (gain - own) ** 2 * (s**2 + ratio**2)).sum()

        return divergence

    for truth in [torch.stack([TRUTH[0], OWN[1]]), *([TRUTH] if alpha == 0.5 else [])]:
        mean, error = slope(SiD(times=At(), alpha=alpha), truth=truth)
        assert agree((mean[0], error[0]), mean_slope(fisher(truth))[0] / 2 / 4)
