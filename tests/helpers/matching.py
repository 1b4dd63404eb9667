"""Matching of normal distributions in closed form: every divergence and its gradient, and wrong variants of
each method."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import TimeDistribution
from fastdiff.methods.dmd2 import FDistill
from fastdiff.methods.loss_memory import RunningMoments
from tests.helpers.oracles import MIDDLE, batch_of

COSINE = Cosine()


# The teacher's normal numbers and the student's: means and standard deviations, different in every dimension.
TRUTH = torch.tensor([[0.3, -0.5, 0.1, 0.4], [0.6, 0.5, 0.7, 0.4]]).double()


OWN = torch.tensor([[0.0, -0.2, 0.4, 0.5], [0.5, 0.6, 0.5, 0.3]]).double()


SEEN = Adversary(weight=1e-9, features=("seen",))


PLANE = slice(0, 2)  # two dimensions, where densities are summed on a grid


LEVELS = (0.4, 1.0, 2.5)  # sigma / alpha where both are compared


@dataclass(frozen=True)
class At(TimeDistribution):
    """One of some levels of sigma / alpha."""

    levels: tuple[float, ...] = LEVELS

    def draw(self, rng, schedule, memory=None):
        return schedule.time_of(torch.tensor(self.levels).double())[rng.integers(0, len(self.levels))], None


class Normal(Network):
    """E[x0 | x_t] of independent normal numbers (mean, std); `seen` puts out what it is asked. late: told t
    wrong."""

    null_label = None

    def __init__(self, numbers, schedule, late=1.0):
        super().__init__()
        (self.mean, self.std), self.schedule, self.late, self.seen = numbers, schedule, late, nn.Identity()

    def forward(self, x, t, s=None, cond=None):
        x, t = self.seen(torch.cat([x, t[:, None]], 1)).split([x.shape[1], 1], 1)
        alpha, sigma = self.schedule.alpha_sigma(self.late * t)
        gain = alpha * self.std**2 / ((alpha * self.std) ** 2 + sigma**2)
        return self.mean + gain * (x - alpha * self.mean)


class Affine(nn.Module):
    """mean + std x / sigma: of noise, normal numbers."""

    def __init__(self, numbers, schedule):
        super().__init__()
        self.mean, self.std, self.schedule = *(nn.Parameter(v.clone()) for v in numbers), schedule

    def forward(self, x, t, s=None, cond=None):
        return self.mean + self.std * x / self.schedule.alpha_sigma(t)[1][:, None]


class Ratio(nn.Module):
    """The discriminator that is right: the logarithm of the data's density at x_t by the samples'. scale:
    made wrong."""

    def __init__(self, truth, own, schedule, scale=1.0):
        super().__init__()
        self.truth, self.own, self.schedule, self.scale = truth, own, schedule, scale

    def forward(self, features):
        y, t = features[0][:, 0].split([self.truth.shape[1], 1], 1)
        there, here = (noised(numbers, *self.schedule.alpha_sigma(t)) for numbers in (self.truth, self.own))
        return self.scale * (there.log_prob(y) - here.log_prob(y)).sum(1, keepdim=True)


def noised(numbers, alpha, sigma):
    return torch.distributions.Normal(alpha * numbers[0], ((alpha * numbers[1]) ** 2 + sigma**2).sqrt())


def model(net, schedule):
    return Denoiser(net, schedule, "x0", (4,), time_input="time")


def slope(
    method, schedule=COSINE, dims=slice(None), late=(1.0, 1.0), scale=1.0, truth=TRUTH, n=4096, batches=16
):
    """Mean gradient of a student's loss in its numbers (2, D), and its standard error. The data are not
    there."""
    own, each = OWN[:, dims], []
    nets = {
        "teacher": model(Normal(truth[:, dims], schedule, late[0]), schedule),
        "fake": model(Normal(own, schedule, late[1]), schedule),
        "discriminator": Ratio(TRUTH[:, dims], own, schedule, scale),
        "ratios": RunningMoments(10, 0.9),
        "ratio_weights": RunningMoments(1, 0.9),
    }
    nothing = torch.full((n, own.shape[1]), torch.nan).double()
    # Two batches before, since the mean of f-distill's weights needs that of its ratios.
    for seed in range(-2 if isinstance(method, FDistill) else 0, batches):
        if seed in (-2, -1):
            nets["ratio_weights"] = RunningMoments(1, 0.9)
        student = nets["student"] = model(Affine(own, schedule), schedule)
        loss, _ = method.loss(("student",), nets, batch_of(nothing, seed % (2 * batches)), MIDDLE)
        nets["ratios"].absorb(lambda sums: sums)
        nets["ratio_weights"].absorb(lambda sums: sums)
        if seed >= 0:
            each.append(torch.stack(torch.autograd.grad(loss, (student.net.mean, student.net.std))))
    each = torch.stack(each)
    return each.mean(0), each.std(0) / batches**0.5


def agree(found, expected):
    """Within 4.5 standard errors everywhere, and these below two hundredths of the largest."""
    mean, error = found
    assert error.max() < 0.02 * expected.abs().max()
    return bool(((mean - expected).abs() < 4.5 * error).all())


def flipped(kind):
    """A kind of matching that pushes where it is to pull."""

    class Flipped(kind):
        def matching_loss(self, *args):
            loss, logs = super().matching_loss(*args)
            return -loss, logs

    return Flipped


def whole(monkeypatch):
    """No sample's gradient is divided by the scale of its error, and no ratio is clamped."""
    monkeypatch.setattr("fastdiff.methods.dmd2.RATIO_RANGE", (0.0, math.inf))
    for file in ("dmd2", "sid"):
        monkeypatch.setattr(
            f"fastdiff.methods.{file}.error_scale", lambda x, mu_real: torch.ones_like(x[:, :1])
        )


def mean_slope(divergence, levels=LEVELS, dims=slice(None)):
    """The gradient in the student's numbers (2, D) of the mean over levels of divergence(numbers, ratio),
    alpha = 1."""
    numbers = OWN[:, dims].clone().requires_grad_()
    return torch.autograd.grad(sum(divergence(numbers, ratio) for ratio in levels) / len(levels), numbers)[0]


def kullback_leibler(power=0.0, truth=TRUTH):
    """Of the samples' noised distribution from the data's, times (sigma / alpha)^power."""

    def divergence(numbers, ratio):
        (m, v), (n, w) = (
            (p.mean, p.variance) for p in (noised(which, 1.0, ratio) for which in (numbers, truth))
        )
        return ratio**power * ((v + (m - n) ** 2) / w - 1 - (v / w).log()).sum() / 2

    return divergence


def on_the_plane(numbers, ratio, points=200):
    """A grid: log density of the noised data, that of the samples with these numbers, and the area of a
    place."""
    axis = torch.linspace(-5, 5, points).double() * (ratio + 0.6)
    y = torch.cartesian_prod(axis, axis)
    return *(noised(which, 1.0, ratio).log_prob(y).sum(1) for which in (TRUTH[:, PLANE], numbers)), (
        axis[1] - axis[0]
    ) ** 2


# f of D(p, q) = E_q f(p / q); times (sigma / alpha)^2, which DMD2's gradient is of.
F = {
    "reverse_kl": lambda r: -r.log(),
    "forward_kl": lambda r: r * r.log(),
    "neyman": lambda r: (1 - r) ** 2 / r,
    "jensen_shannon": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    "jeffreys": lambda r: (r - 1) * r.log(),
    "softened": lambda r: (r + 1) * ((r + 1) / (2 * r)).log(),
    "hellinger": lambda r: (1 - r.sqrt()) ** 2,
}


def weight_of(f, r):
    """f''(r) r^2."""
    return (
        torch.autograd.grad(torch.autograd.grad(f(r).sum(), r, create_graph=True)[0].sum(), r)[0]
        * r.detach() ** 2
    )


def f_divergence(f):
    """D(data, samples) over the mean of f'' r^2 in samples of all levels, r the ratio of their densities."""

    def divergence(numbers, ratio):
        there, here, area = on_the_plane(numbers, ratio)
        return ratio**2 * (here.exp() * f((there - here).exp())).sum() * area / mean_weight

    means = []
    for level in LEVELS:
        there, here, area = on_the_plane(OWN[:, PLANE], level)
        at = (there - here).exp().requires_grad_()
        means.append((here.exp() * weight_of(f, at)).sum() * area)
    mean_weight = sum(means) / len(means)
    return divergence


def fooled(loss):
    """The mean in samples of a loss of the logit by a discriminator that knew them as they were."""

    def divergence(numbers, ratio):
        there, here, area = on_the_plane(numbers, ratio)
        return (here.exp() * loss(there - here.detach())).sum() * area

    return divergence


def divided(terms, truth=TRUTH, points=141, nodes=16):
    """The mean over levels of a sample's slope over its mean of |x - teacher|, in the student's numbers (2,
    D).

    terms(x, real, fake, dreal, dfake) -> slopes, dreal being d real / d x. One over a sum of independent
    numbers is the integral of exp(-rate x sum) over all rates: of products of integrals over the plane of a
    dimension's noises.
    """
    z = torch.linspace(-7, 7, points).double()
    mass = torch.exp(-(z**2) / 2) / torch.exp(-(z**2) / 2).sum()
    mass, z, e = mass[:, None] * mass, z[:, None], z[None]
    (m, r), (n, s) = truth[..., None, None], OWN[..., None, None]
    total = torch.zeros_like(OWN)
    for level in LEVELS:
        gain, own = r**2 / (r**2 + level**2), s**2 / (s**2 + level**2)
        x = n + s * z
        y = x + level * e
        real, fake = m + gain * (y - m), n + own * (y - n)
        slopes = terms(x, real, fake, gain, own)
        for share, length in zip(*legendre(nodes)):
            small = mass * torch.exp(-share / (1 - share) * (x - real).abs())
            others = small.sum((1, 2)).prod() / small.sum((1, 2))
            total += (
                length
                / (1 - share) ** 2
                * others
                * torch.stack([(small * slopes * v).sum((1, 2)) for v in (z**0, z)])
            )
    return total / len(LEVELS)


def legendre(nodes):
    """Gauss's nodes and weights on 0 ... 1."""
    x, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
    return (x + 1) / 2, w / 2


WRONG = {
    "right": {},
    "flipped": {"change": flipped},
    "teacher late": {"late": (1.2, 1.0)},
    "fake late": {"late": (1.0, 1.2)},
}  # asked at another level of noise


VARIANTS = pytest.mark.parametrize("wrong", WRONG)


def judged(kind, expected, wrong, settings, **options):
    """The loss has the expected gradient, and no wrong variant of it has."""
    how = WRONG[wrong] | options
    method = how.pop("change", lambda kind: kind)(kind)(times=At(), **settings)
    assert agree(slope(method, **how), expected) == (wrong == "right")
