"""Bits per dimension against densities in closed form."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import VP, Cosine, Flow, Karras
from fastdiff.networks.mlp import MLP
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers.likelihood import nll
from tests.helpers.tensors import f64
from tests.helpers.walks import schedules


def noise(n, dims, seed=1):
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bits(x, means, stds, weights):
    """Of the mixture's density, per dimension."""
    dims = x.shape[1]
    log_p = (weights / weights.sum()).log() - (x[:, None] - means).square().sum(2) / (2 * stds**2)
    return -(log_p - dims / 2 * (2 * math.pi * stds**2).log()).logsumexp(1) / dims / math.log(2)


MIXTURE = f64([[-1.0, 0.2], [0.8, 1.0], [0.5, -1.2]]), f64([0.3, 0.2, 0.4]), f64([1.0, 2.0, 1.0])


def in_mixture(n=16):
    means, stds, _ = MIXTURE
    which = torch.arange(n) % 3
    return means[which] + stds[which, None] * noise(n, 2)


def bell(dims, std=0.5, schedule=None, mean=0.4):
    return GaussianMixture(
        torch.full((1, dims), mean, dtype=torch.float64), f64([std]), f64([1.0]), schedule or Flow()
    )


def bell_bits(x, std=0.5, mean=0.4):
    return bits(x, f64([[mean]]), f64([std]), f64([1.0]))


@schedules
@pytest.mark.parametrize(("dims", "std"), [(1, 0.1), (2, 1.0), (8, 2.0)])
def test_a_gaussian(schedule, dims, std):
    """Its Jacobian is a multiple of the identity, of which one Rademacher probe gives the exact trace."""
    x = 0.4 + std * noise(16, dims)
    for exact in (False, True):
        found = nll(bell(dims, std, schedule), x, exact=exact, ratio_min=1e-3)
        torch.testing.assert_close(found, bell_bits(x, std), atol=5e-4, rtol=0)


@schedules
def test_a_mixture(schedule):
    x = in_mixture()
    found = nll(GaussianMixture(*MIXTURE, schedule), x, exact=True, ratio_min=1e-3)
    torch.testing.assert_close(found, bits(x, *MIXTURE), atol=1e-3, rtol=0)


def test_a_schedule_that_ends_early():
    """At sigma / alpha = 10 the prior N(0, sigma^2) is off by 0.1 bits for the mean,
    and x0 left as it is by 0.01."""
    x = 0.4 + noise(16, 2)
    found = nll(bell(2, 1.0, Karras(t_max=10.0)), x, exact=True)
    torch.testing.assert_close(found, bell_bits(x, 1.0), atol=1e-3, rtol=0)


def test_tolerances_are_kept():
    x, errors = in_mixture(), []
    for tolerance in (1e-4, 1e-6, 1e-8):
        found = nll(
            GaussianMixture(*MIXTURE, Flow()), x, exact=True, rtol=tolerance, atol=tolerance, ratio_min=1e-4
        )
        errors.append(float((found - bits(x, *MIXTURE)).abs().max()))
    assert errors[1] < errors[0] / 10 and errors[2] < 1e-6, errors


def test_probes_are_unbiased_and_scatter_less_when_many():
    x, model = in_mixture(3)[:1].expand(400, 2), GaussianMixture(*MIXTURE, VP())
    exact = bits(x[:1], *MIXTURE)
    one, eight = (nll(model, x, probes=probes, rtol=1e-3, atol=1e-4) - exact for probes in (1, 8))
    assert (
        one.std() > 0.01
        and abs(one.mean()) < 4 * one.std() / 20
        and abs(eight.mean()) < 4 * eight.std() / 20 + 1e-3
    )
    assert 0.2 < eight.std() / one.std() < 0.55


def test_a_sample_draws_by_its_place_and_steps_by_itself():
    x, model = in_mixture(), GaussianMixture(*MIXTURE, Cosine())
    together = nll(model, x)
    torch.testing.assert_close(nll(model, x[:4]), together[:4], atol=1e-12, rtol=0)
    assert not torch.allclose(nll(model, x, seed=1), together, atol=1e-4)


def test_ratio_is_noise_of_the_data():
    x = 0.4 + 0.5 * noise(16, 2)
    torch.testing.assert_close(
        nll(bell(2), x, exact=True, ratio_min=0.5), bell_bits(x, 0.5 * 2**0.5), atol=2e-4, rtol=0
    )


def test_float32():
    means, stds, weights = (v.float() for v in MIXTURE)
    found = nll(GaussianMixture(means, stds, weights, VP()), in_mixture().float(), exact=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), bits(in_mixture(), *MIXTURE), atol=1e-3, rtol=0)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_levels_add_uniform_noise_of_one_and_its_bits(levels):
    """Of a Gaussian as wide as the level w: the mean over the noise adds w^2 / 12 to the square."""
    width = 2 / (levels - 1)
    x = torch.full((400, 3), 1.0, dtype=torch.float64)
    found = nll(bell(3, std=width, mean=1.0), x, levels=levels, ratio_min=1e-2 * width, rtol=1e-4)
    spread = 1 / 12 / 2 / math.log(2)
    assert (
        abs(found.mean() - (bell_bits(x[:1], width, 1.0) - math.log2(width) + spread))
        < 4 * found.std() / 20 + 2e-4
    )
    assert found.min() > bell_bits(x[:1], width, 1.0) - math.log2(width) - 1e-3 and found.std() > spread / 4
    assert found.max() < bell_bits(x[:1] + width / 2, width, 1.0) - math.log2(width) + 1e-3


class Labels(nn.Module):
    """The exact model of classes whose data are Gaussians of std 0.5 about their label, in flow matching."""

    def forward(self, x, t, s=None, cond=None):
        alpha, sigma, mean = (1 - t)[:, None], t[:, None], cond["label"][:, None].to(x)
        return mean + 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * (x - alpha * mean)


def test_a_condition():
    model = Denoiser(Labels(), Flow(), "x0", (2,), time_input="time")
    labels = torch.tensor([0, 1, 2, 3])
    x = labels[:, None] + 0.5 * noise(4, 2)
    found = nll(model, x, cond={"label": labels}, exact=True)
    torch.testing.assert_close(found, bell_bits(x - labels[:, None], mean=0.0), atol=2e-4, rtol=0)


@pytest.mark.parametrize("schedule", [Cosine(), VP(), Flow()], ids=repr)
def test_the_density_of_any_network_sums_to_one(schedule):
    """Trained or not: the ODE carries a normal density, whatever its field."""
    torch.manual_seed(0)
    net = MLP(1, width=16)
    torch.nn.init.normal_(net.last.weight, std=0.2)
    x = torch.linspace(-12, 12, 1201)[:, None]
    found = nll(Denoiser(net, schedule, "v", (1,)), x)
    assert found.shape == (1201,) and not found.requires_grad and net.last.weight.grad is None
    density = 2**-found
    assert abs(density.sum() * 0.02 - 1) < 2e-3 and not torch.allclose(density, density.flip(0), atol=1e-3)


def test_images():
    means, stds, weights = (MIXTURE[0] * 0.3).repeat(1, 2), MIXTURE[1], MIXTURE[2]
    x = in_mixture().repeat(1, 2) * 0.3
    flat = nll(GaussianMixture(means, stds, weights, Cosine()), x)
    model = GaussianMixture(means.reshape(3, 1, 2, 2), stds, weights, Cosine())
    with torch.no_grad():
        torch.testing.assert_close(nll(model, x.reshape(-1, 1, 2, 2)), flat)
        whole = nll(model, x.reshape(-1, 1, 2, 2), exact=True)
    torch.testing.assert_close(whole, bits(x, means, stds, weights), atol=1e-3, rtol=0)


def test_what_cannot_be_walked_is_refused():
    eps = Denoiser(nn.Identity(), Cosine(), "eps", (2,))
    with pytest.raises(
        FastdiffError, match=r"predicts eps does not determine x0 and eps at the end .* alpha = 0"
    ):
        nll(eps, noise(2, 2))
    for setting, value in (("levels", 1), ("probes", 0), ("ratio_min", 0.0)):
        with pytest.raises(FastdiffError, match=f"{setting} = {value}"):
            nll(bell(2), noise(2, 2), **{setting: value})
    broken = bell(2, mean=math.nan)
    with pytest.raises(
        FastdiffError, match="no step is short enough: the model's predictions are not finite"
    ):
        nll(broken, noise(2, 2))


def test_an_example_has_the_same_bits_in_any_batch():
    model, x0 = GaussianMixture(torch.zeros(1, 3), torch.ones(1), torch.ones(1), Cosine()), torch.randn(8, 3)
    numbers = torch.arange(8)
    whole = nll(model, x0, levels=256, indices=numbers)
    parts = [nll(model, x0[rows], levels=256, indices=rows) for rows in numbers.split(3)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.isclose(nll(model, x0[3:6], levels=256), whole[3:6]).any()
