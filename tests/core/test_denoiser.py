"""The parameterisation table is one linear system; the border keeps dtype, time units and scale."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import TIME_INPUTS
from fastdiff.core.schedule import DDPM, Cosine, Flow, Karras, Schedule, Trig
from tests.helpers.recorder import Recorder, pair, predictions, schedules


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
        assert torch.equal(told, model.solve_coefficients(t).network_time * torch.ones(2))
        assert torch.equal(told - then, (t - s).float().expand(2))


@schedules
@predictions
def test_split_undoes_target(schedule, predicts):
    x0, eps = pair()
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    t = torch.tensor([0.02, 0.2, 0.5, 0.8, 0.97], dtype=torch.float64) * schedule.t_max
    p = model.to_prediction(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve_coefficients(t))
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
    alone, together = (
        model.to_prediction(x, output, model.solve_coefficients(time)) for time in (t, t.expand(4))
    )
    for one, many in zip(alone, together, strict=True):
        torch.testing.assert_close(one, many)
    times = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64) * schedule.t_max
    for i, single in enumerate(times):
        alone = model.to_prediction(x[i : i + 1], output[i : i + 1], model.solve_coefficients(single))
        together = model.to_prediction(x, output, model.solve_coefficients(times))
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[i])


@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Trig(), Trig(sigma_data=0.5)], ids=repr)
@pytest.mark.parametrize("predicts", ["x0", "v", "velocity", "edm"])
def test_pure_noise_is_no_singularity(schedule, predicts):
    """At alpha = 0 only eps says nothing about the data."""
    x0, eps = pair()
    t = torch.tensor(schedule.t_max, dtype=torch.float64)
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    p = model.to_prediction(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve_coefficients(t))
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


@schedules
@pytest.mark.parametrize("predicts", ["eps", "v", "edm"])
def test_clean_data_is_no_singularity(schedule, predicts):
    """At sigma = 0 only x0 says nothing about the noise; the rates of some schedules are infinite there."""
    x0, eps = pair()
    t = torch.tensor(0.0, dtype=torch.float64)
    model = Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5)
    p = model.to_prediction(schedule.mix(x0, eps, t), model.target(x0, eps, t), model.solve_coefficients(t))
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


def test_rows_are_the_papers():
    t = torch.tensor(0.3, dtype=torch.float64)
    alpha, sigma = (float(c) for c in Cosine().alpha_sigma(t))

    def row(predicts, schedule, t=t):
        return [
            float(c)
            for c in Denoiser(nn.Identity(), schedule, predicts, sigma_data=0.5).output_coefficients(t)
        ]

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
