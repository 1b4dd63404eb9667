"""One network on other schedules, and one ODE in every language."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.prediction import PREDICTION_TYPES, ratio_of
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Trig
from fastdiff.networks.oracle import GaussianMixture, PosteriorMean
from fastdiff.samplers import SAMPLERS
from tests.helpers.recorder import SCHEDULE_CASES, Recorder, pair, predictions, schedules
from tests.helpers.tensors import f64

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
        a, b = PREDICTION_TYPES[predicts](schedule, t, sigma_data)
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
    seen, exact = mixture(own).with_schedule(schedule), mixture(schedule)
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
    seen = model.with_schedule(schedule)
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
    x, seen = NOISE[:4] * schedule.alpha_sigma(t)[1], mixture(own).with_schedule(schedule)
    for time in (t, t.expand(4)):
        p = seen(x, time)
        torch.testing.assert_close(p.x0, mixture(schedule)(x, t).x0, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(p.eps, NOISE[:4], rtol=1e-10, atol=1e-10)


def test_noise_that_the_network_never_saw_is_refused():
    seen = mixture(DDPM()).with_schedule(Cosine())
    for t in (torch.tensor(1.0).double(), torch.tensor([0.2, 1.0]).double()):
        with pytest.raises(
            FastdiffError, match=r"has sigma / alpha = inf, more than the 157.4 .*start=0.9959"
        ):
            seen(NOISE[:2], t)
    with pytest.raises(FastdiffError, match=r"sigma / alpha = 80, more than the 9"):
        mixture(Karras(t_max=9.0)).with_schedule(Karras())(NOISE, torch.tensor(80.0).double())
    assert seen(NOISE, torch.tensor(0.9959).double()).x0.isfinite().all()
    edge = Cosine().time_of(torch.tensor(80.0).double())  # its ratio is 80 but for rounding
    assert mixture(Karras()).with_schedule(Cosine())(NOISE, edge).x0.isfinite().all()


def test_a_view_shares_the_network_and_knows_the_way_back():
    model = Denoiser(Recorder(), Cosine(), "v", (2,), sampling=Sampling(times=((1.0, 0.4),)))
    seen = model.eval().with_schedule(Karras())
    assert (
        seen.net is model.net
        and not seen.training
        and seen.shape == (2,)
        and len(list(seen.parameters())) == 1
    )
    assert set(seen.state_dict()) == set(model.state_dict())
    assert (
        seen.with_schedule(Cosine()) is model
        and model.with_schedule(Cosine()) is model
        and seen.with_schedule(Karras(t_max=9.0)).model is model
    )
    assert seen.sampling.times == ()  # they are times of the other schedule


def test_a_teacher_of_a_student_on_another_schedule():
    from fastdiff.core.rng import SampleRng
    from fastdiff.data.registry import Batch
    from fastdiff.methods.progressive import Progressive

    positions = torch.arange(64)
    losses = []
    for teacher in (mixture(Cosine()).with_schedule(Flow()), mixture(Flow())):
        batch = Batch(NOISE.repeat(2, 1), None, SampleRng(0, positions), SampleRng(1, positions[:1]))
        student = Denoiser(Recorder(torch.float64), Flow(), "velocity", (2,))
        losses.append(
            Progressive(steps=4).loss(("student",), {"student": student, "teacher": teacher}, batch, None)[0]
        )
        losses[-1].backward()
        assert student.net.scale.grad.abs() > 0
    torch.testing.assert_close(*losses, rtol=1e-9, atol=0)


def test_an_end_belongs_to_the_models_own_schedule():
    model = Denoiser(torch.nn.Identity(), DDPM(), "eps", (2,), sampling=Sampling(end=(0.99, 0.1), clip=0.5))
    own = model.with_schedule(Flow()).sampling
    assert own.end == (1.0, 0.0) and own.clip == 0.5
