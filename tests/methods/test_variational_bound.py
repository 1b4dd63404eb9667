"""The loss of a network that also predicts the variance of a reverse step."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import Prediction
from fastdiff.core.schedule import DDPM, Cosine, Flow, Karras
from fastdiff.methods.base import Importance, Uniform
from fastdiff.methods.denoising import Denoising, on_timesteps, variational_bits
from fastdiff.networks import mlp
from tests.helpers.variance import START, batch_of, noise, says


@pytest.mark.parametrize("schedule", [DDPM(), Cosine(), Flow(), Karras()], ids=repr)
def test_the_bound_is_the_divergence_of_two_gaussians(schedule):
    i = torch.tensor([2, 3, 40, 500, 999, 1000], dtype=torch.float64)
    t, s = i * schedule.t_max / 1000, (i - 1) * schedule.t_max / 1000
    x0, guess, share = noise(6, 2), noise(6, 2, seed=2), noise(6, 2, seed=3).sigmoid()
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        [c[:, None] for c in schedule.alpha_sigma(time)] for time in (t, s)
    )
    keep = alpha_t / alpha_s
    beta = sigma_t**2 - (keep * sigma_s) ** 2
    tilde = beta * sigma_s**2 / sigma_t**2
    x = noise(6, 2, seed=4)
    mean = lambda clean: (keep * sigma_s**2 * x + alpha_s * beta * clean) / sigma_t**2  # noqa: E731
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(
        normal(mean(x0), tilde.sqrt()),
        normal(mean(guess), (share * beta.log() + (1 - share) * tilde.log()).exp().sqrt()),
    )
    got = variational_bits(schedule, Prediction(x, guess, lambda: None, 2 * share - 1), x0, t)
    torch.testing.assert_close(got, wanted.mean(1) / math.log(2), rtol=1e-6, atol=1e-9)


def test_the_last_step_is_the_likelihood_of_eight_bits():
    """The masses of all 256 values sum to 1, and are a Gaussian's, whose variance lies between both ends."""
    schedule, level = DDPM(), torch.arange(256, dtype=torch.float64)[:, None] / 127.5 - 1
    for share, guess in ((0.0, 0.1), (0.7, -0.99), (1.0, 1.02)):
        p = Prediction(
            level, torch.full_like(level, guess), lambda: None, torch.full_like(level, 2 * share - 1)
        )
        mass = 2 ** -variational_bits(schedule, p, level, torch.ones(256, dtype=torch.float64))
        assert mass.sum() == pytest.approx(1, abs=1e-9)
        sigmas = schedule.alpha_sigma(torch.tensor([1.0, 2.0], dtype=torch.float64))
        betas = 1 - (sigmas[0] / torch.cat([torch.ones(1), sigmas[0][:1]])) ** 2
        std = ((betas[1] * (sigmas[1][0] / sigmas[1][1]) ** 2) ** (1 - share) * betas[0] ** share).sqrt()
        inside = slice(10, 246)
        exact = torch.distributions.Normal(guess, std)
        wanted = exact.cdf(level[inside] + 1 / 255) - exact.cdf(level[inside] - 1 / 255)
        torch.testing.assert_close(mass[inside], wanted[:, 0], rtol=1e-6, atol=1.1e-12)


@pytest.mark.parametrize(
    ("schedule", "i"), [(DDPM(), 2), (DDPM(), 10), (Cosine(), 5), (Cosine(), 100), (Karras(), 3)], ids=str
)
def test_the_bound_is_least_at_the_variance_of_the_reverse_step(schedule, i):
    """N(0, std^2): the variance of x_s given x_t is known, and the gradient vanishes there and nowhere
    near."""
    std, t, s = 0.5, *(torch.tensor([j * schedule.t_max / 1000], dtype=torch.float64) for j in (i, i - 1))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    beta = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    tilde = beta * (sigma_s / sigma_t) ** 2
    left = std**2 * sigma_t**2 / ((alpha_t * std) ** 2 + sigma_t**2)  # of x0 given x_t
    exact = tilde + (alpha_s * beta / sigma_t**2) ** 2 * left
    share = float((exact / tilde).log() / (beta / tilde).log())
    assert 0.02 < share < 1.01
    n = 200_000
    x0 = std * noise(n, 1)
    x = alpha_t * x0 + sigma_t * noise(n, 1, seed=2)

    def slope(share):
        model = says(schedule, share, std)
        variational_bits(schedule, model(x, t.expand(n)), x0, t.expand(n)).mean().backward()
        return float(model.net.output.grad)

    gap = 0.05
    low, here, high = (slope(share + step) for step in (-gap, 0.0, gap))
    assert low < 0 < high and abs(here) < 0.2 * min(-low, high)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_the_mean_learns_from_the_simple_loss_alone(predicts):
    torch.manual_seed(0)
    net = mlp((2,), width=8, depth=1, learned_variance=True).double()
    nn.init.normal_(net.last.weight)
    model, x0 = Denoiser(net, Cosine(), predicts, (2,)), 0.3 * noise(16, 2)
    gradients, losses = [], []
    for vlb in (0.0, 0.5):
        net.zero_grad()
        loss, logs = Denoising(variance="learned", vlb=vlb).loss(
            ("student",), {"student": model}, batch_of(x0), START
        )
        loss.backward()
        gradients.append(net.last.weight.grad.clone())
        losses.append(loss.detach())
    torch.testing.assert_close(gradients[0][:2], gradients[1][:2])
    assert gradients[0][2:].abs().max() == 0 < gradients[1][2:].abs().max()
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * logs["vlb"].detach())


def test_the_bound_is_just_above_the_entropy():
    """The exact model of N(0, std^2) on levels 2 / 255 apart: log2(std 127.5 sqrt(2 pi e)) bits,
    and what steps lose."""
    schedule, std = DDPM(), 0.25
    t = torch.arange(1, 1001, dtype=torch.float64).repeat(40)
    x0 = std * noise(len(t), 2)
    x, bits = schedule.mix(x0, noise(len(t), 2, seed=2), t), {}
    for share in (0.0, 0.5, 1.0):
        with torch.no_grad():
            bits[share] = 1000 * float(
                variational_bits(schedule, says(schedule, share, std)(x, t), x0, t).mean()
            )
    entropy = math.log2(std * 127.5 * math.sqrt(2 * math.pi * math.e))
    assert entropy < min(bits.values()) < entropy + 0.3, (entropy, bits)


def test_times_are_training_timesteps():
    schedule = Cosine()
    t = on_timesteps(schedule, torch.tensor([1e-9, 0.0004, 0.0016, 0.5003, 1.0], dtype=torch.float64))
    assert (1000 * t).tolist() == [1, 1, 2, 500, 1000]


def test_the_bound_is_the_sum_over_all_timesteps():
    """Estimated at one timestep drawn for each example, as the paper's L_vlb in bits a dimension."""
    model, x0 = says(Cosine(), 0.5), 0.5 * noise(16, 2)
    _, logs = Denoising(variance="learned").loss(("student",), {"student": model}, batch_of(x0), START)
    rng = batch_of(x0).rng
    t = on_timesteps(model.schedule, Uniform().draw(rng, model.schedule)[0])
    x = model.schedule.mix(x0, rng.normal((2,)).double(), t)
    torch.testing.assert_close(
        logs["vlb"], 1000 * variational_bits(model.schedule, model(x, t), x0, t).mean()
    )


def test_importance_sampling_sees_the_whole_loss():
    method, model = Denoising(times=Importance(bins=4), variance="learned"), says(Cosine(), 0.5)
    nets = {"student": model} | method.trainable_networks(model, None)
    loss, logs = method.loss(("student",), nets, batch_of(0.5 * noise(32, 2)), START)
    nets["memory"].absorb(lambda sums: sums)
    assert (
        loss.isfinite()
        and logs["unweighted"] > logs["vlb"] * method.vlb > 0
        and nets["memory"].count.sum() == 32
    )


@pytest.mark.parametrize(("variance", "doubled"), [("learned", False), ("fixed", True)])
def test_method_and_network_must_agree(variance, doubled):
    model = Denoiser(mlp((2,), learned_variance=doubled), Cosine(), "v", (2,))
    with pytest.raises(FastdiffError, match=f"variance {variance} and the network disagree"):
        Denoising(variance=variance).trainable_networks(model, None)
    assert (
        Denoising(variance="fixed" if variance == "learned" else "learned").trainable_networks(model, None)
        == {}
    )
