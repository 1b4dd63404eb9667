"""Schedules: rates, inverses, ends, and the shapes of time."""

import math
from dataclasses import replace

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras, Sigmoid, Trig
from tests.helpers.tensors import f64

ALL = [
    *(kind() for kind in SCHEDULES.values()),
    Trig(sigma_data=0.5),
    VP(beta_min=0.2, beta_max=12.0),
    Karras(t_max=10.0),
    Sigmoid(start=0.0, end=3.0, tau=0.7),
    DDPM(t_max=4, betas=(0.1, 0.2, 0.3, 0.4)),
    Flow(t_max=0.9),
    Flow(shift=3.0),
    Flow(shift=0.1),
    DDPM(kind="cosine"),
    DDPM(kind="scaled_linear", beta_start=8.5e-4, beta_end=1.2e-2),
    DDPM(kind="sigmoid"),
    DDPM(zero_terminal_snr=True),
    DDPM(t_max=50, kind="cosine", zero_terminal_snr=True),
]


every = pytest.mark.parametrize("schedule", ALL, ids=repr)


PRESERVING = (DDPM, Cosine, Sigmoid, VP)


def inner(schedule, n=41):
    """Times inside (0, t_max), off the knots of the table."""
    return (torch.arange(n, dtype=torch.float64) + 0.437) / n * schedule.t_max * 0.999


@every
def test_rates_are_the_slopes(schedule):
    t, h = inner(schedule), 1e-6 * schedule.t_max
    ahead, behind = schedule.alpha_sigma(t + h), schedule.alpha_sigma(t - h)
    for rate, a, b in zip(schedule.rates(t), ahead, behind, strict=True):
        torch.testing.assert_close(rate, (a - b) / (2 * h), rtol=1e-5, atol=1e-7)


@every
def test_time_of_inverts_the_ratio(schedule):
    t = inner(schedule)
    alpha, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(schedule.time_of(sigma / alpha), t, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(schedule.time_of((sigma / alpha)[3]), t[3], rtol=1e-8, atol=1e-9)


@every
def test_ratio_rises_from_zero(schedule):
    t = torch.cat([f64([0.0]), inner(schedule)])
    alpha, sigma = schedule.alpha_sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0 and (sigma / alpha).diff().min() > 0
    assert schedule.time_of(f64(0.0)).abs() < 1e-12 * schedule.t_max
    assert alpha.min() >= 0


@every
def test_variance_is_preserved_where_it_should_be(schedule):
    alpha, sigma = schedule.alpha_sigma(torch.linspace(0, schedule.t_max, 1001, dtype=torch.float64))
    kept = (alpha**2 + sigma**2 - 1).abs().max() < 1e-12
    assert kept == (isinstance(schedule, PRESERVING) or schedule == Trig())


NOISE_AT_LAST = [
    Cosine(),
    Sigmoid(),
    Flow(),
    Flow(shift=0.1),
    Flow(shift=3.3),
    Trig(),
    DDPM(zero_terminal_snr=True),
    DDPM(t_max=50, kind="cosine", zero_terminal_snr=True),
    DDPM(t_max=4, betas=(0.1, 0.2, 0.3, 0.4), zero_terminal_snr=True),
]


@pytest.mark.parametrize("schedule", NOISE_AT_LAST, ids=repr)
def test_pure_noise_is_exact(schedule):
    alpha, sigma = schedule.alpha_sigma(f64(schedule.t_max))
    assert alpha == 0 and sigma == 1
    last = float(schedule.time_of(f64(math.inf)))
    assert (
        last == pytest.approx(schedule.t_max, rel=1e-14)
        if isinstance(schedule, Sigmoid)
        else last == schedule.t_max
    )


@pytest.mark.parametrize("schedule", [VP(), Karras(), DDPM(), DDPM(kind="cosine")], ids=repr)
def test_noise_without_end_lies_beyond_the_others(schedule):
    alpha, sigma = schedule.alpha_sigma(f64(schedule.t_max))
    assert alpha > 0 and schedule.time_of(f64(math.inf)) > schedule.t_max
    assert float(schedule.time_of(sigma / alpha)) == pytest.approx(schedule.t_max)


def test_closed_forms():
    assert [float(c) for c in Cosine().alpha_sigma(f64(1 / 3))] == pytest.approx([math.cos(math.pi / 6), 0.5])
    assert [float(c) for c in Flow().alpha_sigma(f64(0.25))] == [0.75, 0.25]
    assert [float(c) for c in Karras().alpha_sigma(f64(7.0))] == [1, 7]
    assert [float(c) for c in Trig(sigma_data=0.5).alpha_sigma(f64(1.0))] == pytest.approx(
        [math.cos(1), 0.5 * math.sin(1)]
    )
    assert float(VP().alpha_sigma(f64(1.0))[0]) == pytest.approx(
        math.exp(-(0.1 + 20.0) / 4)
    )  # Song et al., eq. 33
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    gamma = (sigmoid(3) - sigmoid(0.3 * 6 - 3)) / (sigmoid(3) - sigmoid(-3))
    assert float(Sigmoid().alpha_sigma(f64(0.3))[0]) ** 2 == pytest.approx(gamma)


def test_the_table_is_diffusers():
    from diffusers import DDPMScheduler

    alpha, sigma = DDPM().alpha_sigma(torch.arange(1, 1001, dtype=torch.float64))
    table = DDPMScheduler().alphas_cumprod
    torch.testing.assert_close(alpha.square().float(), table, rtol=2e-5, atol=0)
    torch.testing.assert_close((sigma**2).float(), 1 - table, rtol=0, atol=1e-6)
    other = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    mine = DDPM(betas=tuple(other.betas.double().tolist()))
    torch.testing.assert_close(
        mine.alpha_sigma(torch.arange(1, 1001.0))[0].square().float(),
        other.alphas_cumprod,
        rtol=1e-4,
        atol=1e-9,
    )


@pytest.mark.parametrize("entries", [1000, 20])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine", "sigmoid", "given"])
def test_every_kind_of_table_is_diffusers(kind, zero, entries):
    from diffusers import DDPMScheduler

    given = tuple((4 / entries * torch.rand(entries, generator=torch.Generator().manual_seed(0))).tolist())
    theirs = {"cosine": "squaredcos_cap_v2", "given": "linear"}.get(kind, kind)
    wanted = DDPMScheduler(
        entries,
        beta_start=8.5e-4,
        beta_end=1.2e-2,
        beta_schedule=theirs,
        rescale_betas_zero_snr=zero,
        trained_betas=given if kind == "given" else None,
    ).alphas_cumprod.double()
    mine = DDPM(
        entries,
        8.5e-4,
        1.2e-2,
        **({"betas": given} if kind == "given" else {"kind": kind}),
        zero_terminal_snr=zero,
    )
    alpha, _ = mine.alpha_sigma(torch.arange(1, entries + 1, dtype=torch.float64))
    plain = replace(mine, zero_terminal_snr=False).table
    stretch = float(plain[1] / (plain[1] - plain[-1])) if zero else 1.0  # of diffusers' float32 rounding, too
    torch.testing.assert_close(alpha**2, wanted, rtol=0, atol=1e-6 * stretch)
    assert (alpha[-1] == 0) == zero
    first, last, middle = plain[1], plain[-1], plain[entries // 2]  # Lin et al. 2023, algorithm 1
    assert not zero or float(mine.table[entries // 2]) == pytest.approx(
        float((middle - last) * first / (first - last))
    )


@pytest.mark.parametrize(
    "schedule",
    [
        DDPM(),
        DDPM(zero_terminal_snr=True),
        DDPM(50, 1e-3, 0.2, kind="scaled_linear"),
        DDPM(kind="cosine"),
        DDPM(kind="sigmoid", zero_terminal_snr=True),
        DDPM(t_max=3, betas=(0.1, 0.2, 0.5)),
    ],
    ids=repr,
)
def test_a_table_keeps_its_name_in_files(tmp_path, schedule):
    from diffusers import DDIMScheduler

    from fastdiff.core.denoiser import Denoiser
    from fastdiff.core.sampling import Sampling
    from fastdiff.io.export.model import export
    from fastdiff.io.load import load
    from fastdiff.networks import unet

    net = unet((1, 8, 8), channels=(8,), layers=1, groups=4)
    export(Denoiser(net, schedule, "v", (1, 8, 8), sampling=Sampling(steps=(1,))), tmp_path, {})
    theirs = DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler").alphas_cumprod.double()
    torch.testing.assert_close(theirs, schedule.table[1:] ** 2, rtol=0, atol=2e-6)
    assert load(tmp_path).schedule == schedule
    (tmp_path / "fastdiff.json").unlink()
    read = load(tmp_path).schedule  # DDIMScheduler has no sigmoid: its betas are written out
    torch.testing.assert_close(read.table, schedule.table, rtol=0, atol=1e-7)
    assert read == schedule or schedule.kind == "sigmoid"


def test_every_table_of_a_ddpm_pipeline_is_read(tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler

    from fastdiff.core.errors import FastdiffError
    from fastdiff.io.load import load
    from fastdiff.networks import unet

    net = unet((1, 8, 8), channels=(8,), layers=1, groups=4).module
    scheduler = DDPMScheduler(
        beta_schedule="sigmoid", rescale_betas_zero_snr=True, prediction_type="v_prediction"
    )
    DDPMPipeline(net, scheduler).save_pretrained(tmp_path)
    assert load(tmp_path).schedule == DDPM(kind="sigmoid", zero_terminal_snr=True)
    DDPMPipeline(net, DDPMScheduler(beta_schedule="laplace")).save_pretrained(tmp_path)
    with pytest.raises(FastdiffError, match="cannot be loaded as a diffusers model .*laplace"):
        load(tmp_path)


def test_a_shift_moves_times_and_nothing_else():
    """Esser et al. 2024, equation 23: t of the shifted line is t' of the plain one; 1 changes not a bit."""
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for mine, plain in zip(
        Flow(shift=3.0).alpha_sigma(t), Flow().alpha_sigma(3 * t / (1 + 2 * t)), strict=True
    ):
        torch.testing.assert_close(mine, plain, rtol=0, atol=1e-15)
    assert torch.equal(Flow().alpha_sigma(t)[0], 1 - t) and torch.equal(Flow().alpha_sigma(t)[1], t)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(FastdiffError, match="schedule flow: shift = .*: expected"):
            Flow(shift=bad)


def test_an_unknown_kind_of_table_is_refused():
    with pytest.raises(
        FastdiffError, match="kind 'squared' is unknown, choose from linear, scaled_linear, cosine, sigmoid"
    ):
        DDPM(kind="squared")


def test_a_table_of_the_wrong_length_is_refused():
    with pytest.raises(FastdiffError, match="2 betas: expected t_max = 1000"):
        DDPM(betas=(0.1, 0.2)).alpha_sigma(f64(1.0))


@every
def test_a_batch_of_times_is_as_many_single_times(schedule):
    t = inner(schedule, 6)
    for function in (schedule.alpha_sigma, schedule.rates, lambda t: (schedule.time_of(t),)):
        for batched, *single in zip(function(t), *(function(one) for one in t), strict=True):
            assert batched.shape == (6,) and all(one.shape == () for one in single)
            torch.testing.assert_close(batched, torch.stack(single), rtol=1e-12, atol=1e-12)


@every
@pytest.mark.parametrize("shape", [(4, 4), (4, 3, 4), (4, 4, 4, 4), (4, 1, 2, 4)])
def test_batch_size_equal_to_image_width(schedule, shape):
    """Where a (B,) coefficient broadcasts against the last axis without a murmur."""
    x0, eps = torch.randn(2, *shape, dtype=torch.float64)
    t = inner(schedule, 4)
    for function in (schedule.mix, schedule.velocity):
        got = function(x0, eps, t)
        want = torch.cat([function(x0[i : i + 1], eps[i : i + 1], t[i]) for i in range(4)])
        assert got.shape == shape
        torch.testing.assert_close(got, want)


def test_like_follows_the_sample():
    x = torch.zeros(3, 2, 5)
    assert like(torch.arange(3.0), x).shape == (3, 1, 1) and like(torch.ones(3, 2), x).shape == (3, 2, 1)
    assert like(torch.ones(3, dtype=torch.float64), x).dtype == torch.float32
    scalar = f64(2.0)
    assert like(scalar, x) is scalar and (scalar * x).dtype == torch.float32


@every
def test_float32_images_stay_float32(schedule):
    x = torch.randn(3, 2)
    for t in (inner(schedule, 3), inner(schedule, 3)[0], inner(schedule, 3).float()):
        assert schedule.mix(x, x, t).dtype == schedule.velocity(x, x, t).dtype == torch.float32


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t_max", [0.0, -1.0, math.inf, math.nan])
def test_every_schedule_refuses_an_end_that_is_no_time(name, t_max):
    with pytest.raises(FastdiffError, match=f"schedule {name}: t_max"):
        SCHEDULES[name](t_max=t_max)
