"""ECT: pairs of one path, the shrinking gap, and its clock."""

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import ratio_of
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.data.toys import toy
from fastdiff.methods import Progress
from fastdiff.methods.base import LogitNormal, LogNormal, PseudoHuber, Uniform
from fastdiff.methods.ect import ECT
from fastdiff.networks import mlp
from tests.helpers.consistency import IN_TIME, rng
from tests.helpers.oracles import MIDDLE, START, batch_of, draws_of, mixture, named, told


@pytest.mark.parametrize("law", [Uniform(), LogNormal(), LogitNormal()], **named)
def test_the_target_is_nearer_the_data_on_the_path_of_the_same_noise(law):
    schedule, x0 = Flow(), draws_of(mixture(Flow()), 512)
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    for progress in (START, MIDDLE, Progress(100, 100, 0)):
        student.net.asked.clear()
        _, logs = ECT(times=law, **IN_TIME).loss(("student",), {"student": student}, batch_of(x0), progress)
        (xt, t, zero, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
        assert ((s > 0) & (s < t) & (t <= schedule.t_max)).all() and (zero == 0).all()
        torch.testing.assert_close(s, t * (1 - ECT().gap(progress)))
        noise = [(x - like(1 - u, x) * x0) / like(u, x) for x, u in ((xt, t), (xs, s))]
        torch.testing.assert_close(*noise, rtol=1e-6, atol=1e-6)
        assert torch.isclose(logs["gap"], (t - s).mean())


def test_the_mean_gradient_at_the_exact_consistency_function_falls_with_the_gap():
    """Data N(0, 0.25): f(x, t) = 0.5 x / std(x_t) is exact, and under squared distance no more than the gap
    is left."""
    schedule, size = Flow(), 0.5

    def std(t):
        return ((size * (1 - t)) ** 2 + t**2).sqrt()

    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64))  # f stays the identity at t = 0
    student = told(lambda x, t, s: like(size / std(t) * (1 + tilt * t), x) * x, schedule, "x0", (1,))
    student.net.tilt = tilt
    grid = torch.linspace(0.001, 1, 20001, dtype=torch.float64)
    falls = []
    for start in (0.2, 0.1, 0.05):
        method, found = (
            ECT(start=start, times=Uniform(), distance=PseudoHuber(100.0), **IN_TIME),
            [],
        )  # so wide a Huber is squared distance / (2 c)
        for seed in range(8):
            x0 = size * SampleRng(seed, torch.arange(1 << 15)).normal((1,)).double()
            loss, _ = method.loss(("student",), {"student": student}, batch_of(x0, seed + 100), START)
            found.append(100 * torch.autograd.grad(loss, tilt)[0])
        mean, error = torch.stack(found).mean(), torch.stack(found).std() / 8**0.5
        s = grid * (1 - start)
        alike = (size**2 * (1 - grid) * (1 - s) + grid * s) / (
            std(grid) * std(s)
        )  # correlation of x_t and x_s
        exact = (grid * size**2 * (1 - alike) / (grid - s)).mean()
        assert (mean - exact).abs() < 3.5 * error
        falls.append(exact)
    assert 2 < falls[1] / falls[2] < falls[0] / falls[1] < 2.4


def test_the_gap_halves_in_equal_shares_of_the_training():
    method = ECT(start=0.5, halvings=4)
    gaps = [method.gap(Progress(step, 1000, 0)) for step in range(1000)]
    assert gaps == [0.5 / 2 ** (step // 200) for step in range(1000)]
    assert method.gap(Progress(1000, 1000, 0)) == gaps[-1] == 0.5 / 2**4
    assert ECT(halvings=0).gap(MIDDLE) == 0.5


def test_settings_that_cannot_train_are_refused():
    for settings in ({"start": 0.0}, {"start": 1.5}):
        with pytest.raises(FastdiffError, match=next(iter(settings))):
            ECT(**settings)


def test_the_papers_map_of_ect():
    """r(t) = t (1 - q^-(stage + 1) (1 + 8 sigmoid(-t))), q = 2, clamped at 0;
    a stage every so many images."""
    method, t = ECT(images=1000), torch.tensor([0.01, 0.5, 2.0, 40.0], dtype=torch.float64)
    for images, stage in ((0, 0), (999, 0), (1000, 1), (3500, 3), (10**6, 7)):
        wanted = (t * (1 - 2.0 ** -(stage + 1) * (1 + 8 * torch.sigmoid(-t)))).clamp(min=0)
        torch.testing.assert_close(method.earlier_time(Karras(), t, Progress(500, 1000, images)), wanted)
    assert method.earlier_time(Karras(), t, Progress(0, 1000, 0))[0] == 0
    student = Denoiser(mlp((2,), width=16), Karras(), "edm", (2,), time_input="edm", scale_input=True)
    loss, _ = method.loss(
        ("student",), {"student": student}, batch_of(toy(n=512).examples), Progress(0, 1000, 0)
    )
    assert torch.isfinite(loss)  # s = 0 is among the times


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP(), Trig(), Sigmoid()], **named)
def test_the_pairs_in_sigma_are_those_of_the_papers_schedule(schedule):
    """The sigma / alpha of t and s, and the divisor of the loss, do not depend on the student's schedule."""
    method, progress = ECT(), Progress(600, 1000, 0)
    (t, s), (sigma, below) = (method.pair(rng(4096), of, progress) for of in (schedule, Karras()))
    inside = sigma < ratio_of(schedule, torch.tensor(0.999 * schedule.t_max).double()).clamp(max=79)
    torch.testing.assert_close(ratio_of(schedule, t)[inside], sigma[inside], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(ratio_of(schedule, s)[inside], below[inside], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        method.width(schedule, t, s)[inside], (sigma - below)[inside], rtol=1e-4, atol=1e-7
    )
    assert (s >= 0).all() and (s < t).all() and inside.double().mean() > 0.9
    t, s = method.pair(rng(4096), schedule, START)
    assert (s >= 0).all() and (s < t).all() and (s == 0).any()  # the widest gap reaches the data


def test_the_loss_in_time_is_that_of_the_plain_formula():
    """The very numbers of distance(f(x_t), f(x_s)) t_max / (t - s) with s = t (1 - gap)."""
    net, schedule, x0 = mlp((2,), width=16), Cosine(), toy(n=64).examples
    nn.init.normal_(net.last.weight)
    student, noise = Denoiser(net, schedule, "v", (2,)), rng(64)
    method = ECT(times=Uniform(), halvings=8, **IN_TIME)
    loss, _ = method.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    t, _ = Uniform().draw(noise, schedule, None)
    s, eps = t * (1 - 0.5 * 2.0**-4), noise.normal((2,))
    f, near = (student(schedule.mix(x0, eps, u), u).x0 for u in (t, s))
    huber = ((f - near).square().sum(1) + (0.00054 * 2**0.5) ** 2).sqrt() - 0.00054 * 2**0.5
    assert torch.equal(loss, (huber * schedule.t_max / (t - s)).mean())
