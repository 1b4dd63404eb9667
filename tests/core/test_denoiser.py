"""The parameterisation table is one linear system; the border keeps dtype, time units and scale."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.prediction import ROWS, TIME_INPUTS, ratio_of
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras, Schedule, Trig
from fastdiff.networks.oracle import GaussianMixture, PosteriorMean
from fastdiff.samplers import SAMPLERS

SCHEDULE_CASES = [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.5)]
schedules = pytest.mark.parametrize("schedule", SCHEDULE_CASES, ids=repr)
predictions = pytest.mark.parametrize("predicts", list(ROWS))


class Recorder(nn.Module):
    """Keeps what it was called with; answers with its scale times the input."""

    def __init__(self, dtype=torch.float32, channels=1):
        super().__init__()
        self.scale, self.channels = nn.Parameter(torch.ones((), dtype=dtype)), channels

    def forward(self, x, t, s=None, cond=None):
        self.seen = x, t, s, cond
        return torch.cat([x * self.scale] * self.channels, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_told_the_time_whole(dtype):
    """In bfloat16 999 is 1000."""
    net = Recorder(dtype)
    model = Denoiser(net, DDPM(), "eps", two_times=True)
    for times in ((999.0, 998.0), ([999.0, 998.5], [998.0, 997.0])):
        t, s = torch.tensor(times, dtype=torch.float64)
        model(torch.zeros(2, 3), t, s)
        x, told, then, _ = net.seen
        assert (x.dtype, told.dtype, then.dtype) == (dtype, torch.float32, torch.float32)
        assert torch.equal(told, model.solve(t).clock * torch.ones(2))
        assert torch.equal(told - then, (t - s).float().expand(2))


def pair(shape=(5, 3, 4, 5)):
    return torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@schedules
@predictions
def test_split_undoes_target(schedule, predicts):
    x0, eps = pair()
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    t = torch.tensor([0.02, 0.2, 0.5, 0.8, 0.97], dtype=torch.float64) * schedule.t_max
    p = model.split(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve(t))
    torch.testing.assert_close(p.x0, x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(p.eps, eps, rtol=1e-8, atol=1e-8)
    assert p.extra is None and [torch.equal(a, b) for a, b in zip(p, (p.x0, p.eps), strict=True)] == [
        True,
        True,
    ]


@schedules
@predictions
def test_a_time_for_each_sample_or_one_for_all(schedule, predicts):
    x, output = pair((4, 2, 3, 4))  # batch size = width
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.7)
    t = torch.tensor(0.6 * schedule.t_max, dtype=torch.float64)
    alone, together = (model.split(x, output, model.solve(time)) for time in (t, t.expand(4)))
    for one, many in zip(alone, together, strict=True):
        torch.testing.assert_close(one, many)
    times = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64) * schedule.t_max
    for i, single in enumerate(times):
        alone = model.split(x[i : i + 1], output[i : i + 1], model.solve(single))
        together = model.split(x, output, model.solve(times))
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[i])


@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Trig(), Trig(sigma_data=0.5)], ids=repr)
@pytest.mark.parametrize("predicts", ["x0", "v", "velocity", "edm"])
def test_pure_noise_is_no_singularity(schedule, predicts):
    """At alpha = 0 only eps says nothing about the data."""
    x0, eps = pair()
    t = torch.tensor(schedule.t_max, dtype=torch.float64)
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    p = model.split(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve(t))
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


@schedules
@pytest.mark.parametrize("predicts", ["eps", "v", "edm"])
def test_clean_data_is_no_singularity(schedule, predicts):
    """At sigma = 0 only x0 says nothing about the noise; the rates of some schedules are infinite there."""
    x0, eps = pair()
    t = torch.tensor(0.0, dtype=torch.float64)
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    p = model.split(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve(t))
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


def test_rows_are_the_papers():
    t = torch.tensor(0.3, dtype=torch.float64)
    alpha, sigma = (float(c) for c in Cosine().alpha_sigma(t))

    def row(predicts, schedule, t=t):
        return [float(c) for c in Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5).row(t)]

    assert row("v", Cosine()) == pytest.approx([-sigma, alpha])
    assert row("velocity", Flow()) == [-1, 1]
    assert row("velocity", Cosine()) == pytest.approx([-math.pi / 2 * sigma, math.pi / 2 * alpha])
    x0, eps, level, data = 0.8, -1.3, 3.0, 0.5  # Karras et al. 2022, table 1: D = c_skip x + c_out F
    c_skip, c_out = data**2 / (level**2 + data**2), level * data / math.sqrt(level**2 + data**2)
    a, b = row("edm", Karras(), torch.tensor(level, dtype=torch.float64))
    assert a * x0 + b * eps == pytest.approx((x0 - c_skip * (x0 + level * eps)) / c_out)


def test_extra_channels_are_handed_on():
    x = torch.randn(2, 3, 4, 4)
    t = torch.tensor(0.5)
    plain, wide = (Denoiser(Recorder(channels=n), Cosine(), "v")(x, t) for n in (1, 2))
    assert plain.extra is None and torch.equal(wide.extra, x)
    assert torch.equal(plain.x0, wide.x0) and torch.equal(plain.eps, wide.eps)


def test_scale_input_gives_the_network_unit_variance():
    net, t = Recorder(), torch.tensor([0.1, 3.0, 50.0], dtype=torch.float64)
    noise = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(0))
    x = Karras().mix(0.5 * noise, noise.roll(1, 1), t)
    Denoiser(net, Karras(), "edm", sigma_data=0.5, scale_input=True)(x, t)
    torch.testing.assert_close(net.seen[0].std(1), torch.ones(3), rtol=0.02, atol=0)
    Denoiser(net, Karras(), "edm", sigma_data=0.5)(x, t)
    assert torch.equal(net.seen[0], x)


@pytest.mark.parametrize("inside", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("outside", [torch.float32, torch.float64])
def test_the_network_sees_its_own_dtype_and_the_caller_theirs(inside, outside):
    net = Recorder(inside)
    x = torch.randn(2, 3, dtype=outside)
    for t in (torch.tensor(0.3, dtype=torch.float64), torch.tensor([0.3, 0.4])):
        p = Denoiser(net, Cosine(), "v", scale_input=True, two_times=True)(x, t, t / 2)
        times = torch.promote_types(inside, torch.float32)
        assert [seen.dtype for seen in net.seen[:3]] == [inside, times, times]
        assert net.seen[1].shape == net.seen[2].shape == (2,)
        assert p.x0.dtype == p.eps.dtype == outside
        alpha, sigma = Cosine().alpha_sigma(t)
        torch.testing.assert_close(like(alpha, x) * p.x0 + like(sigma, x) * p.eps, x, rtol=1e-5, atol=1e-5)


def test_time_inputs():
    def seen(name, schedule, t):
        net = Recorder(torch.float64)
        Denoiser(net, schedule, "x0", time_input=name)(torch.ones(1, 1), torch.tensor(t, dtype=torch.float64))
        return float(net.seen[1])

    assert [seen("timestep", DDPM(), t) for t in (1.0, 500.0, 1000.0)] == [0, 499, 999]
    assert seen("timestep", Cosine(), 1.0) == 999 and seen("timestep", Trig(), math.pi / 2) == pytest.approx(
        999
    )
    assert seen("timestep", DDPM(t_max=100), 100.0) == 99
    assert seen("thousand", Flow(), 0.25) == 250 and seen("time", Flow(), 0.25) == 0.25
    assert seen("edm", Karras(), 5.0) == pytest.approx(math.log(5) / 4)
    assert seen("cm", Karras(), 5.0) == pytest.approx(250 * math.log(5))


def test_only_networks_of_two_times_see_the_second():
    net, t = Recorder(), torch.tensor(1.0, dtype=torch.float64)
    Denoiser(net, Cosine(), "v", time_input="time")(torch.ones(2, 1), t, t / 2)
    assert net.seen[2] is None
    Denoiser(net, Cosine(), "v", time_input="time", two_times=True)(torch.ones(2, 1), t, t / 2, {"label": t})
    assert net.seen[2].tolist() == [0.5, 0.5] and net.seen[3] == {"label": t}


def test_unknown_names_are_refused():
    with pytest.raises(FastdiffError, match=r"predicts: 'noise' is unknown, choose from x0, eps"):
        Denoiser(nn.Identity(), Cosine(), "noise")
    with pytest.raises(
        FastdiffError, match="time_input: 'clock' is unknown, choose from " + ", ".join(TIME_INPUTS)
    ):
        Denoiser(nn.Identity(), Cosine(), "v", time_input="clock")


def test_the_base_schedule_leaves_its_functions_open():
    with pytest.raises(NotImplementedError):
        Schedule().alpha_sigma(torch.tensor(0.5))


# ---- one ODE in every language

DATA = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Speaking(nn.Module):
    """The exact posterior mean of DATA, said in any parameterisation."""

    def __init__(self, schedule, predicts, sigma_data):
        super().__init__()
        self.exact = PosteriorMean(
            DATA, torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64), schedule
        )
        self.rules = schedule, predicts, sigma_data

    def forward(self, x, t, s=None, cond=None):
        schedule, predicts, sigma_data = self.rules
        x0 = self.exact(x, t)
        alpha, sigma = schedule.alpha_sigma(t)
        a, b = ROWS[predicts](schedule, t, sigma_data)
        return like(a, x) * x0 + like(b, x) * (x - like(alpha, x) * x0) / like(sigma, x)


RATIOS = torch.logspace(math.log10(80), math.log10(0.002), 30, dtype=torch.float64)
NOISE = torch.randn(32, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def land(sampler, schedule, predicts):
    """Where the samples at sigma / alpha = 80 are carried to."""
    model = Denoiser(Speaking(schedule, predicts, 0.5), schedule, predicts, time_input="time", sigma_data=0.5)
    times = torch.cat([schedule.time_of(RATIOS), torch.zeros(1)])
    *_, last = SAMPLERS[sampler](Guided(model), 80 * NOISE * schedule.alpha_sigma(times[0])[0], times)
    return last.x


@schedules
@predictions
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_every_pair_carries_the_same_noise_to_the_same_point(schedule, predicts, sampler):
    """Both samplers depend on sigma / alpha alone, so all agree to rounding, and Points lands on its data."""
    x = land(sampler, schedule, predicts)
    torch.testing.assert_close(x, land(sampler, Karras(), "x0"), rtol=0, atol=1e-7)
    assert torch.cdist(x, DATA).min(1).values.max() < 1e-6
    assert torch.cdist(x, DATA).argmin(1).unique().numel() > 3


# ---- one network on other schedules


def mixture(schedule):
    means = torch.tensor([[-1.0, 0.2], [0.8, 1.0], [0.5, -1.2]], dtype=torch.float64)
    return GaussianMixture(
        means, torch.tensor([0.3, 0.2, 0.4]).double(), torch.tensor([1.0, 2.0, 1.0]).double(), schedule
    )


def f64(x):
    return torch.tensor(x, dtype=torch.float64)


def reached(schedule, other):
    """Shares of t_max whose noise the other schedule knows too."""
    shares = (0.02, 0.3, 0.6, 0.9, 0.99)
    return [
        share
        for share in shares
        if other.time_of(ratio_of(schedule, f64(share * schedule.t_max))) <= other.t_max
    ]


@pytest.mark.parametrize("own", SCHEDULE_CASES, ids=repr)
@schedules
def test_a_mixture_is_the_same_mixture_on_every_schedule(own, schedule):
    seen, exact = mixture(own).on(schedule), mixture(schedule)
    shares = reached(schedule, own)
    assert len(shares) >= 3
    times = torch.tensor(shares, dtype=torch.float64) * schedule.t_max
    x = NOISE[: len(shares)] * (1 + schedule.alpha_sigma(times)[1][:, None])
    for got, want in zip(seen(x, times), exact(x, times), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for i, t in enumerate(times):
        for got, want in zip(seen(x[i : i + 1], t), exact(x[i : i + 1], t), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@predictions
@pytest.mark.parametrize("scale_input", [False, True])
@pytest.mark.parametrize(
    ("own", "schedule"),
    [(Cosine(), Karras()), (Karras(), Flow()), (DDPM(), Trig(sigma_data=0.5)), (Flow(shift=3.0), VP())],
    ids=repr,
)
def test_the_network_is_asked_in_its_own_words(own, schedule, predicts, scale_input):
    """It sees the x, t and s that its own schedule would show it, and what it says is read as there."""
    net = Recorder(torch.float64)
    model = Denoiser(
        net, own, predicts, time_input="time", sigma_data=0.5, scale_input=scale_input, two_times=True
    )
    seen = model.on(schedule)
    share = reached(schedule, own)[-1]
    t = torch.tensor([share, share / 2], dtype=torch.float64) * schedule.t_max
    u = own.time_of(ratio_of(schedule, t))
    x0, eps = pair((2, 3))
    x = schedule.mix(x0, eps, t)
    theirs = model(own.mix(x0, eps, u), u, u / 2)
    wanted = [part.clone() for part in net.seen[:2]]
    s = schedule.time_of(ratio_of(own, u / 2))
    ours = seen(x, t, s)
    for got, want in zip(net.seen[:3], [*wanted, u / 2], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)
    alpha, sigma = (like(c, x) for c in schedule.alpha_sigma(t))
    torch.testing.assert_close(alpha * ours.x0 + sigma * ours.eps, x)
    torch.testing.assert_close(seen.target(x0, eps, t), model.target(x0, eps, u), rtol=1e-6, atol=1e-7)


NOISE_AT_LAST = [Cosine(), Flow(), Flow(shift=0.3), Trig(sigma_data=0.5), DDPM(zero_terminal_snr=True)]


@pytest.mark.parametrize("own", NOISE_AT_LAST, ids=repr)
@pytest.mark.parametrize("schedule", NOISE_AT_LAST, ids=repr)
def test_pure_noise_is_matched_to_pure_noise(own, schedule):
    t = torch.tensor(schedule.t_max, dtype=torch.float64)
    x, seen = NOISE[:4] * schedule.alpha_sigma(t)[1], mixture(own).on(schedule)
    for time in (t, t.expand(4)):
        p = seen(x, time)
        torch.testing.assert_close(p.x0, mixture(schedule)(x, t).x0, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(p.eps, NOISE[:4], rtol=1e-10, atol=1e-10)


def test_noise_that_the_network_never_saw_is_refused():
    seen = mixture(DDPM()).on(Cosine())
    for t in (torch.tensor(1.0).double(), torch.tensor([0.2, 1.0]).double()):
        with pytest.raises(
            FastdiffError, match=r"has sigma / alpha = inf, more than the 157.4 .*start=0.9959"
        ):
            seen(NOISE[:2], t)
    with pytest.raises(FastdiffError, match=r"sigma / alpha = 80, more than the 9"):
        mixture(Karras(t_max=9.0)).on(Karras())(NOISE, torch.tensor(80.0).double())
    assert seen(NOISE, torch.tensor(0.9959).double()).x0.isfinite().all()
    edge = Cosine().time_of(torch.tensor(80.0).double())  # its ratio is 80 but for rounding
    assert mixture(Karras()).on(Cosine())(NOISE, edge).x0.isfinite().all()


def test_a_view_shares_the_network_and_knows_the_way_back():
    model = Denoiser(Recorder(), Cosine(), "v", (2,), sampling=Sampling(times=((1.0, 0.4),)))
    seen = model.eval().on(Karras())
    assert (
        seen.net is model.net
        and not seen.training
        and seen.shape == (2,)
        and len(list(seen.parameters())) == 1
    )
    assert set(seen.state_dict()) == set(model.state_dict())
    assert (
        seen.on(Cosine()) is model
        and model.on(Cosine()) is model
        and seen.on(Karras(t_max=9.0)).model is model
    )
    assert seen.sampling.times == ()  # they are times of the other schedule


def test_a_teacher_of_a_student_on_another_schedule():
    from fastdiff.core.rng import SampleRng
    from fastdiff.data.registry import Batch
    from fastdiff.methods.progressive import Progressive

    positions = torch.arange(64)
    losses = []
    for teacher in (mixture(Cosine()).on(Flow()), mixture(Flow())):
        batch = Batch(NOISE.repeat(2, 1), None, SampleRng(0, positions), SampleRng(1, positions[:1]))
        student = Denoiser(Recorder(torch.float64), Flow(), "velocity", (2,))
        losses.append(
            Progressive(steps=4).loss(("student",), {"student": student, "teacher": teacher}, batch, None)[0]
        )
        losses[-1].backward()
        assert student.net.scale.grad.abs() > 0
    torch.testing.assert_close(*losses, rtol=1e-9, atol=0)


# ---- how a model says it is sampled


def test_times_are_kept_by_their_number():
    sampling = (
        Sampling(spacing="karras")
        .with_times([1.0, 0.3, 0.0])
        .with_times((1.0, 0.8, 0.2))
        .with_times([1, 0.4])
    )
    assert sampling.times == ((1.0, 0.4), (1.0, 0.8, 0.2))
    assert [sampling.spacing_for(steps) for steps in (1, 2, 3)] == ["karras", (1.0, 0.4), (1.0, 0.8, 0.2)]
