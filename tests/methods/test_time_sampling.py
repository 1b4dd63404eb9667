"""Laws of times against their distribution functions."""

import math
from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from scipy import stats

from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import ratio_of
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import SCHEDULES, Karras
from fastdiff.core.validation import call
from fastdiff.methods import METHODS
from fastdiff.methods.base import Importance, LogitNormal, LogNormal, Uniform
from fastdiff.methods.denoising import Denoising
from fastdiff.methods.time_sampling import (
    DenoisingTimeDistribution,
    KarrasIndex,
    LogNormalIndex,
    StudentT,
    TimeDistribution,
)
from tests.helpers.consistency import rng
from tests.helpers.oracles import named

# ---- times


def normal_cdf(z):
    return (1 + torch.erf(z / 2**0.5)) / 2


@pytest.mark.parametrize("name", ["flow", "cosine", "karras", "ddpm", "trig", "vp"])
@pytest.mark.parametrize("law", [Uniform(0.1), LogNormal(-1.0, 1.5), LogitNormal(0.5, 0.8)], **named)
def test_times_follow_their_law_in_every_schedule(law, name):
    schedule, n = SCHEDULES[name](), 20000
    t, weight = law.draw(SampleRng(3, torch.arange(n)), schedule, None)
    assert weight is None and t.shape == (n,) and ((t > 0) & (t <= schedule.t_max)).all()
    share = t.sort().values / schedule.t_max
    alpha, sigma = schedule.alpha_sigma(share * schedule.t_max)
    # Of t that is sigma a share is not of t_max = 80, but of the way from 0.002 to it by seventh roots.
    ladder = (
        (sigma ** (1 / 7) - 0.002 ** (1 / 7)) / (80 ** (1 / 7) - 0.002 ** (1 / 7))
        if name == "karras"
        else share
    )
    level = {
        Uniform: lambda: (ladder - 0.1) / 0.9,
        LogNormal: lambda: normal_cdf(((sigma / alpha).log() + 1.0) / 1.5),
        LogitNormal: lambda: normal_cdf((ladder.logit() - 0.5) / 0.8),
    }[type(law)]()
    inside = share < 1  # a lognormal's tail beyond t_max is put there
    expected = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    assert (level - expected)[inside].abs().max() < 1.95 / n**0.5  # Kolmogorov-Smirnov, 0.1 %


def test_importance_is_uniform_until_every_bin_is_known_then_follows_the_losses_root_mean_square():
    law, n = Importance(bins=8, uniform_share=0.01), 200_000
    memory, schedule = law.loss_moments(), Karras()
    t, weight = law.draw(SampleRng(0, torch.arange(n)), schedule, memory)
    assert torch.equal(weight, torch.ones(n, dtype=torch.float64))
    size = lambda share: 0.2 + 3 * share**2  # noqa: E731
    for _ in range(2):
        memory.record(size(t / schedule.t_max), t / schedule.t_max)
        memory.absorb(lambda sums: sums)
    t, weight = law.draw(SampleRng(1, torch.arange(n)), schedule, memory)
    share = t / schedule.t_max
    edges = (torch.arange(80_000, dtype=torch.float64) + 0.5).reshape(8, -1) / 80_000
    root = size(edges).square().mean(1).sqrt()
    wanted = 0.99 * root / root.sum() + 0.01 / 8
    found = torch.bincount((share * 8).long(), minlength=8) / n
    torch.testing.assert_close(found.double(), wanted, atol=4 * (0.25 / n) ** 0.5, rtol=0)
    assert (weight.mean() - 1).abs() < 4 * weight.std() / n**0.5
    for known in (
        lambda u: u.square(),
        lambda u: (6 * u).cos(),
        size,
    ):  # weighted draws average like uniform ones
        values = weight * known(share)
        assert (values.mean() - known(edges).mean()).abs() < 4 * values.std() / n**0.5
    assert (weight * size(share)).std() < size(edges).std()  # what it is for


def test_importance_is_for_denoising_alone():
    assert call(METHODS, "denoising", {"times": "importance"}, "method") == Denoising(times=Importance())
    assert not issubclass(Importance, TimeDistribution) and {"u_shaped", "importance"} <= set(
        DenoisingTimeDistribution.registry
    )
    for name, kind in METHODS.items():
        hints = get_type_hints(kind)
        for field in fields(kind):
            law = hints[field.name]
            if (
                not (isinstance(law, type) and issubclass(law, DenoisingTimeDistribution))
                or name == "denoising"
            ):
                continue
            path = f"method.{field.name}: 'importance' is unknown, choose from uniform, .*u_shaped; no plugin"
            with pytest.raises(FastdiffError, match=f"^{path}"):
                call(METHODS, name, {field.name: "importance"}, "method")


# ---- laws of times


@pytest.mark.parametrize("name", ["flow", "cosine", "karras", "ddpm", "trig", "vp"])
@pytest.mark.parametrize(
    "law", [KarrasIndex(), LogNormalIndex(points=11), KarrasIndex(5, sigma_max=1e4)], ids=str
)
def test_a_grid_law_draws_neighbours_of_karras_grid(law, name):
    schedule, n = SCHEDULES[name](), 40_000
    t, s = law.pair(rng(n), schedule)
    top = min(law.sigma_max, float(ratio_of(schedule, torch.tensor(schedule.t_max, dtype=torch.float64))))
    low, high = 0.002 ** (1 / 7), top ** (1 / 7)
    levels = [(low + i / (law.points - 1) * (high - low)) ** 7 for i in range(law.points)]
    grid = torch.tensor(levels, dtype=torch.float64)
    torch.testing.assert_close(ratio_of(schedule, schedule.time_of(grid)), grid)
    places = schedule.time_of(grid).clamp(max=schedule.t_max)
    i = (t[:, None] - places).abs().argmin(1)
    torch.testing.assert_close(t, places[i])
    torch.testing.assert_close(s, places[i - 1])
    assert i.min() >= 1 and t.max() <= schedule.t_max
    if type(law) is LogNormalIndex:
        share = torch.tensor(stats.norm.cdf(grid.log(), -1.1, 2.0)).diff()
        share = share / share.sum()
    else:
        share = torch.full((law.points - 1,), 1 / (law.points - 1), dtype=torch.float64)
    found = torch.bincount(i - 1, minlength=law.points - 1) / n
    assert ((found - share).abs() < 4 * (share * (1 - share) / n).sqrt() + 1e-9).all()


def test_the_truncated_student_t_is_scipys():
    schedule, n = Karras(), 20_000
    for law in (StudentT(), StudentT(loc=0.5, scale=0.7, df=2.0, low=0.5, high=20.0)):
        t, _ = law.draw(rng(n), schedule)
        ends = stats.t.cdf([math.log(law.low), math.log(law.high)], law.df, law.loc, law.scale)
        level = (stats.t.cdf(t.log().sort().values, law.df, law.loc, law.scale) - ends[0]) / (
            ends[1] - ends[0]
        )
        assert (
            abs(level - (torch.arange(n).numpy() + 0.5) / n).max() < 1.95 / n**0.5
        )  # Kolmogorov-Smirnov, 0.1 %
        assert t.min() >= law.low * (1 - 1e-9) and t.max() <= law.high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("law", "settings"),
    [
        (Importance, {"bins": 0}),
        (Importance, {"decay": -0.1}),
        (Importance, {"uniform_share": 1.5}),
        (KarrasIndex, {"points": 1}),
        (KarrasIndex, {"sigma_min": 0.0}),
        (KarrasIndex, {"rho": 0.0}),
        (KarrasIndex, {"sigma_max": math.inf}),
        (StudentT, {"df": 0.0}),
        (StudentT, {"low": 90.0}),
    ],
)
def test_laws_that_are_none_are_refused(law, settings):
    with pytest.raises(FastdiffError, match=next(iter(settings))):
        law(**settings)
