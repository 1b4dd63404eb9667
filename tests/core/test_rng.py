"""Noise is a function of (seed, position, call), and looks like noise along each of the three."""

import math

import pytest
import torch

from fastdiff.core.rng import SampleRng

N = 20_000


def rng(seed=0, n=N, start=0):
    return SampleRng(seed, torch.arange(start, start + n))


def kolmogorov(sample, cdf):
    """The largest gap between the empirical and the exact distribution, in units of 1 / sqrt(n)."""
    sample = sample.double().flatten().sort().values
    steps = torch.arange(len(sample) + 1, dtype=torch.float64) / len(sample)
    exact = cdf(sample)
    return float(max((steps[1:] - exact).max(), (exact - steps[:-1]).max())) * math.sqrt(len(sample))


def correlation(a, b):
    """In units of its standard deviation under independence."""
    pair = torch.stack([a.double().flatten(), b.double().flatten()])
    return float(torch.corrcoef(pair)[0, 1].abs()) * math.sqrt(a.numel())


@pytest.mark.parametrize("seed", [0, 1, -1, 2**62])
def test_uniform_is_uniform(seed):
    u = rng(seed).uniform()
    assert u.dtype == torch.float64 and u.shape == (N,) and u.min() > 0 and u.max() < 1
    assert kolmogorov(u, lambda x: x) < 1.8  # passed by chance alone with probability 0.997
    assert u.mean() == pytest.approx(0.5, abs=5 / math.sqrt(12 * N)) and u.var() == pytest.approx(
        1 / 12, rel=0.03
    )


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_normal_is_normal(shape):
    z = rng().normal(shape)
    assert z.dtype == torch.float32 and z.shape == (N, *shape) and z.isfinite().all()
    assert kolmogorov(z, lambda x: (1 + (x / math.sqrt(2)).erf()) / 2) < 1.8
    tolerance = 5 / math.sqrt(z.numel())
    assert z.mean() == pytest.approx(0, abs=tolerance) and z.var() == pytest.approx(1, abs=1.5 * tolerance)
    assert z.double().pow(4).mean() == pytest.approx(3, abs=10 * tolerance)


def test_the_tails_of_normal_are_there():
    z = SampleRng(3, torch.arange(4)).normal((500_000,))
    assert z.isfinite().all() and 4.5 < z.abs().max() < 6.8
    assert (z.abs() > 3).double().mean() == pytest.approx(0.0026998, rel=0.05)


def test_integers_cover_their_range_evenly():
    draws = rng().integers(3, 8)
    assert draws.dtype == torch.int64 and draws.unique().tolist() == [3, 4, 5, 6, 7]
    assert draws.bincount()[3:].double().div(N).sub(0.2).abs().max() < 0.015


def test_positions_calls_seeds_and_components_are_independent():
    first, other = rng(), rng(1)
    z = first.normal((2,))
    for a, b in [
        (z[1:, 0], z[:-1, 0]),
        (z[:, 0], z[:, 1]),
        (z, first.normal((2,))),
        (z, other.normal((2,))),
        (z[:, 0], z[:, 1].square()),
        (z[:, 0].abs(), z[:, 1].abs()),
        (z[: N // 2], z[N // 2 :]),
        (z, rng(start=N).normal((2,))),
        (z, rng(2**32).normal((2,))),
    ]:
        assert correlation(a, b) < 4


def test_no_two_draws_coincide():
    streams = [SampleRng(seed, torch.arange(50)) for seed in range(4)]
    bits = torch.stack([stream.bits(20) for stream in streams for _ in range(3)])
    assert bits.unique().numel() == bits.numel()


def test_a_sample_draws_alike_in_any_company():
    whole, draws = rng(7, 12), lambda r: (r.normal((3, 2)), r.uniform(), r.normal(), r.integers(0, 9))
    wanted = draws(whole)
    pick = torch.tensor([11, 0, 5])
    for positions in (pick, pick[:1], pick.to(torch.int32), torch.arange(12)):
        for got, want in zip(draws(SampleRng(7, positions)), wanted, strict=True):
            assert torch.equal(got, want[positions.long()])


def test_shorter_draws_and_global_seeds_change_nothing_that_follows():
    a, b = rng(5, 4), rng(5, 4)
    a.normal((7,)), b.uniform()
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    x = a.normal((2,))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(x, b.normal((2,)))
