"""Score identity distillation against the derivative of its expression."""

import pytest
import torch
from torch.nn.functional import softplus

from fastdiff.methods.base import LogNormal
from fastdiff.methods.sid import SiD, SiDA
from fastdiff.methods.time_sampling import KarrasIndex
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


def test_the_adversarial_term_of_sida_has_the_authors_scale():
    """Half of 100 times the sum of SiD's, and of 0.01 times the size times their term over each error.

    In proportion: the discriminator is a straight line, so that its loss has a gradient known by hand.
    """
    torch.manual_seed(0)
    size, n = 4, 256
    x = torch.randn(n, size, dtype=torch.float64, requires_grad=True)
    real, fake = (torch.randn(n, size, dtype=torch.float64) for _ in range(2))
    logits = x.sum(1, keepdim=True)
    error = (x - real).abs().mean(1).detach()
    sid = ((real - fake) * (real - x - (real - fake)) / error[:, None]).sum() / n
    term = softplus(-logits).mean() * size * (1 / error).mean()
    (wanted,) = torch.autograd.grad(0.5 * 100 * sid + 0.5 * 0.01 * term, x, retain_graph=True)
    method = SiDA()
    matching, _ = method.matching_loss({}, x, real, fake, None, logits)
    scale = method.gan.weight * method.generator_loss_scale(x, real)
    (found,) = torch.autograd.grad(matching + scale * method.gan.generator_loss(logits.double()), x)
    torch.testing.assert_close(50 * size * found, wanted, rtol=1e-6, atol=1e-6)


def test_the_laws_of_times_are_the_authors():
    for method in (SiD(), SiDA()):
        assert method.fake_times == LogNormal(-1.2, 1.2) and method.discriminator_times is None
        assert method.times == KarrasIndex(points=1000, sigma_max=24.0)
        assert method.training["betas"] == (0.0, 0.999) and method.training["max_grad_norm"] == 0
    assert "roles" not in SiD().training and "discriminator" in SiDA().training["roles"]
