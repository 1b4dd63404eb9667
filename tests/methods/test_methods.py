"""Methods against closed forms: at rest where they must be, on their paper's algebra, and unbiased."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine, Flow, Karras, like
from fastdiff.data.registry import Batch
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import Importance, LogitNormal, LogNormal, PseudoHuber, Uniform
from fastdiff.methods.consistency import CD, ECT
from fastdiff.methods.denoising import Denoising
from fastdiff.methods.progressive import Progressive, Stochastic, implied, snr_weight
from fastdiff.methods.scm import Weighting
from fastdiff.networks import MLP
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import sample

POINT = torch.tensor([0.3, -0.7], dtype=torch.float64)
named = {"ids": lambda v: v if isinstance(v, str) else type(v).__name__}
PARAMETERISATIONS = [
    (Flow(), "velocity"),
    (Cosine(), "v"),
    (Cosine(), "x0"),
    (Karras(), "edm"),
    (DDPM(), "eps"),
]
APART = (
    "dmd2",
    "f_distill",
    "sid",
    "sida",
    "diff_instruct",
    "add",
    "ladd",
    "gan",
)  # they learn by other networks too
START, MIDDLE = Progress(0, 100, 0), Progress(50, 100, 6400)


class Told(nn.Module):
    """A network whose clean prediction is a given function clean(x, t, s); it keeps what it was asked."""

    null_label = None

    def __init__(self, clean, schedule, predicts):
        super().__init__()
        self.clean, self.schedule, self.predicts, self.asked = clean, schedule, predicts, []

    def forward(self, x, t, s=None, cond=None):
        self.asked.append((x, t, s, cond))
        alpha, sigma = (like(c, x) for c in self.schedule.alpha_sigma(t))
        x0 = self.clean(x, t, s)
        return self.model.target(x0, (x - alpha * x0) / sigma, t)


def told(clean, schedule, predicts, shape=(2,)):
    net = Told(clean, schedule, predicts)
    model = Denoiser(net, schedule, predicts, shape, time_input="time", two_times=True)
    object.__setattr__(net, "model", model)  # not a child of its child
    return model


def constant(point, schedule, predicts):
    """The ideal denoiser of one point, which can be moved."""
    model = told(lambda x, t, s: model.net.point.expand_as(x), schedule, predicts)
    model.net.point = nn.Parameter(point.clone())
    return model


def batch_of(x0, seed=0, cond=None):
    positions = torch.arange(len(x0))
    eps = SampleRng(seed + 2, positions).normal(x0.shape[1:]).to(x0)  # for methods that learn from pairs
    return Batch(x0, cond, SampleRng(seed, positions), SampleRng(seed + 1, positions[:1]), eps)


def mixture(schedule):
    means = torch.tensor([[0.8, 0.0], [-0.3, 0.6], [-0.4, -0.9]], dtype=torch.float64)
    return GaussianMixture(
        means, torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0.5, 0.3, 0.2]).double(), schedule
    )


def draws_of(model, n, seed=0):
    rng, net = SampleRng(seed ^ 0xDA7A, torch.arange(n)), model.net
    kind = torch.searchsorted(net.log_weights.exp().cumsum(0), rng.uniform())
    return net.means[kind] + net.stds[kind, None] * rng.normal((2,))


class Dropping(MLP):
    """A network with dropout whose masks it keeps."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.masks = []

    def forward(self, x, t, s=None, cond=None):
        self.masks.append(nn.functional.dropout(torch.ones(len(x), 8), 0.5, self.training))
        return super().forward(x, t, s, cond) * (1 + self.masks[-1].mean(1, keepdim=True))


# ---- at rest


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in APART])
def test_at_rest_on_one_point(name, schedule, predicts):
    method, student = METHODS[name](), constant(POINT, schedule, predicts)
    others = {r: constant(POINT, schedule, predicts) for r in ("teacher", "stage_one", *method.averages())}
    nets = {"student": student, **others, "weighting": Weighting()}
    cond = {"label": torch.zeros(256).long(), "guidance": torch.full((256,), 3.0)}
    loss, logs = method.loss(("student",), nets, batch_of(POINT.repeat(256, 1), cond=cond), MIDDLE)
    loss.backward()
    assert loss.ndim == 0 and loss.abs() < 1e-9
    assert student.net.point.grad.abs().max() < 1e-6
    assert nets["teacher"].net.point.grad is None
    assert all(torch.isfinite(v) for v in logs.values())


@pytest.mark.parametrize("name", ["denoising", "progressive"])
def test_downhill_is_back_to_the_point(name):
    """Not for ect and cd: a constant agrees with itself, wherever it is."""
    student, teacher = (constant(POINT + shift, Flow(), "velocity") for shift in (0.1, 0.0))
    nets = {"student": student, "teacher": teacher}
    METHODS[name]().loss(("student",), nets, batch_of(POINT.repeat(256, 1)), MIDDLE)[0].backward()
    assert (student.net.point.grad > 0).all()


def test_what_a_method_says_of_itself():
    assert METHODS["consistency"] is METHODS["ect"]
    assert [METHODS[n]().teacher_nfe() for n in ("denoising", "progressive", "ect", "cd")] == [0, 2, 0, 1]
    assert {n for n, m in METHODS.items() if m.teaches} >= {"progressive", "cd", "tcm", "scd"}
    assert Progressive(steps=4).sampling().steps == (4,) and Progressive(steps=4).sampling().only
    assert not METHODS["ect"].teaches and not METHODS["sct"].teaches
    assert all(
        METHODS[n]().turns(START) == (("student",),) and METHODS[n]().averages() == {}
        for n in ("denoising", "progressive", "ect", "cd")
    )


# ---- progressive distillation


HALVED = lambda i: (i, i - 0.5, i - 1)  # noqa: E731  where the teacher's two steps go
BY_TWO = lambda i: (i, i - 1, i - 2) if i > 1 else (1, 0)  # noqa: E731  the same of a stochastic round


def two_steps(teacher, steps, way=HALVED):
    """The x0 with which one DDIM step goes where two of the teacher go, by the sampler and linear algebra."""
    schedule = teacher.schedule

    def clean(x, t, s):
        found = torch.empty_like(x)
        for i in range(1, steps + 1):
            rows = t == schedule.t_max / steps * i
            start, walk = x[rows], schedule.t_max / steps * torch.tensor(way(i), dtype=torch.float64)
            here, there = walk[0], walk[-1]
            *_, end = SAMPLERS["ddim"](Guided(teacher), start, walk)
            (_, sigma_t), (_, sigma_s) = schedule.alpha_sigma(here), schedule.alpha_sigma(there)
            keep = sigma_s / sigma_t  # one DDIM step is keep x + (landing of x0 = 1) x0
            landing = schedule.alpha_sigma(there)[0] - keep * schedule.alpha_sigma(here)[0]
            found[rows] = (end.x - keep * start) / landing
        return found

    return clean


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_two_teacher_steps_has_no_loss(schedule, steps):
    teacher, seen = mixture(schedule), []
    student = told(two_steps(teacher, steps), schedule, "x0")
    nets = {"student": student, "teacher": lambda *a: seen.append(a) or teacher(*a)}
    loss, _ = Progressive(steps=steps).loss(("student",), nets, batch_of(draws_of(teacher, 512)), START)
    assert loss < 1e-18
    assert len(seen) == 2
    ((_, t, s, _),) = student.net.asked
    assert set((t * steps).tolist()) == set(range(1, steps + 1))  # t = 1, where alpha is 0, is among them
    assert torch.equal(s, t - 1 / steps)
    nets["student"] = told(
        lambda x, t, s: teacher(x, t, s).x0, schedule, "x0"
    )  # the teacher itself is not the answer
    assert (
        Progressive(steps=steps).loss(("student",), nets, batch_of(draws_of(teacher, 512)), START)[0] > 1e-4
    )


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_two_jumps_of_a_stochastic_teacher_has_no_loss(schedule, steps):
    """From the last point of the grid there is room for one alone."""
    teacher = mixture(schedule)
    student = told(two_steps(teacher, steps, BY_TWO), schedule, "x0")
    nets, batch = {"student": student, "teacher": teacher}, lambda: batch_of(draws_of(teacher, 512))
    assert Stochastic(steps=steps).loss(("student",), nets, batch(), START)[0] < 1e-18
    ((_, t, s, _),) = student.net.asked
    assert set((t * steps).tolist()) == set(range(1, steps + 1)) and torch.equal(
        s, (t - 2 / steps).clamp(min=0)
    )
    nets["student"] = told(two_steps(teacher, steps), schedule, "x0")  # progressive's answer is another
    assert Stochastic(steps=steps).loss(("student",), nets, batch(), START)[0] > 1e-4


def test_a_stochastic_round_is_sampled_as_it_was_trained():
    """Where the sampler asks, where it jumps to, and the pairs of times of the training are the same."""
    student, method = told(lambda x, t, s: torch.zeros_like(x), Cosine(), "x0"), Stochastic(steps=5)
    method.loss(
        ("student",), {"student": student, "teacher": mixture(Cosine())}, batch_of(torch.randn(512, 2)), START
    )
    trained = {
        pair
        for _, t, s, _ in student.net.asked
        for pair in zip((5 * t).round().tolist(), (5 * s).round().tolist())
    }
    student.net.asked.clear()
    student.sampling = method.sampling()
    sample(student, n=3)
    sampled = [(round(5 * float(t[0])), round(5 * float(s[0]))) for _, t, s, _ in student.net.asked]
    assert sampled == [(5, 3), (4, 2), (3, 1), (2, 0), (1, 0)] == sorted(trained, reverse=True)
    with pytest.raises(FastdiffError, match="trained for overshoot at 5 steps, not for ddim at 5"):
        sample(student, "ddim", n=3, steps=5)
    with pytest.raises(FastdiffError, match="steps = 1: expected at least 2, as one step has no noise"):
        Stochastic(steps=1)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras(), DDPM()], **named)
def test_one_ddim_step_with_the_implied_x0_lands_on_the_two_step_point(schedule):
    teacher, x = (
        mixture(schedule),
        torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    t, mid, s = (schedule.t_max * torch.tensor(v, dtype=torch.float64) for v in (0.75, 0.625, 0.5))
    *_, end = SAMPLERS["ddim"](Guided(teacher), x, torch.stack([t, mid, s]))
    x0 = implied(schedule, x, t, end.x, s)
    single = told(lambda x, t, s: x0, schedule, "x0")
    *_, landed = SAMPLERS["ddim"](Guided(single), x, torch.stack([t, s]))
    torch.testing.assert_close(landed.x, end.x, rtol=1e-10, atol=1e-10)


def test_the_first_interval_takes_the_teachers_own_x0():
    """steps = 1: only s = 0, where the target is the teacher's second x0 and nothing is divided by."""
    schedule, answers = Cosine(), []
    oracle = mixture(schedule)

    def teacher(*a):
        answers.append(oracle(*a))
        return answers[-1]

    nets = {"student": told(lambda x, t, s: torch.zeros_like(x), schedule, "x0"), "teacher": teacher}
    loss, _ = Progressive(steps=1).loss(("student",), nets, batch_of(draws_of(oracle, 64)), START)
    assert torch.allclose(
        loss, answers[1].x0.square().mean(), rtol=1e-12
    )  # alpha = 0: the truncated weight is 1


def test_weights_are_their_formulas_and_snr_plus_1_is_the_error_in_v():
    schedule, t = Cosine(), torch.tensor([0.125, 0.5, 0.875, 1.0], dtype=torch.float64)
    snr = (1 / (math.pi / 2 * t).tan()) ** 2
    torch.testing.assert_close(snr_weight("truncated_snr", schedule, t), snr.clamp(min=1))
    weight = snr_weight("snr_plus_1", schedule, t)
    torch.testing.assert_close(weight, snr + 1)
    model, (x, a, b) = (
        told(None, schedule, "v"),
        torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)).double(),
    )
    alpha, sigma = (like(c, x) for c in schedule.alpha_sigma(t))
    v, w = (model.target(x0, (x - alpha * x0) / sigma, t) for x0 in (a, b))  # of one x_t
    torch.testing.assert_close(like(weight, a) * (a - b).square(), (v - w).square())


# ---- consistency


@pytest.mark.parametrize(("schedule", "predicts"), [p for p in PARAMETERISATIONS if p[1] != "x0"], **named)
def test_the_student_is_the_identity_at_time_zero(schedule, predicts):
    torch.manual_seed(0)
    net = MLP(2, 16, 1)
    nn.init.normal_(net.last.weight)
    x, zero = torch.randn(4, 2), torch.zeros(4, dtype=torch.float64)
    model = Denoiser(net, schedule, predicts, (2,))
    torch.testing.assert_close(model(x, zero, zero).x0, x)
    assert not torch.allclose(model(x, zero + schedule.t_max / 2, zero).x0, x)


def test_the_gap_halves_in_equal_shares_of_the_training():
    method = ECT(start=0.5, halvings=4)
    gaps = [method.gap(Progress(step, 1000, 0)) for step in range(1000)]
    assert gaps == [0.5 / 2 ** (step // 200) for step in range(1000)]
    assert method.gap(Progress(1000, 1000, 0)) == gaps[-1] == 0.5 / 2**4
    assert ECT(halvings=0).gap(MIDDLE) == 0.5


@pytest.mark.parametrize("law", [Uniform(), LogNormal(), LogitNormal()], **named)
def test_the_target_is_nearer_the_data_on_the_path_of_the_same_noise(law):
    schedule, x0 = Flow(), draws_of(mixture(Flow()), 512)
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    for progress in (START, MIDDLE, Progress(100, 100, 0)):
        student.net.asked.clear()
        _, logs = ECT(times=law).loss(("student",), {"student": student}, batch_of(x0), progress)
        (xt, t, zero, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
        assert ((s > 0) & (s < t) & (t <= schedule.t_max)).all() and (zero == 0).all()
        torch.testing.assert_close(s, t * (1 - ECT().gap(progress)))
        noise = [(x - like(1 - u, x) * x0) / like(u, x) for x, u in ((xt, t), (xs, s))]
        torch.testing.assert_close(*noise, rtol=1e-6, atol=1e-6)
        assert torch.isclose(logs["gap"], (t - s).mean())


def test_both_passes_share_their_dropout_mask(monkeypatch):
    """With s next to t the passes can only differ by their masks, and the loss weighs any difference by a billion."""

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)).double()

        def forward(self, x, t, s=None, cond=None):
            return self.layers(x)

    torch.manual_seed(0)
    monkeypatch.setattr(ECT, "gap", lambda self, progress: 1e-9)
    student = Denoiser(Dropping(), Flow(), "velocity", (2,), time_input="time").train()
    x0, t = torch.randn(64, 2, dtype=torch.float64), torch.full((64,), 0.5, dtype=torch.float64)
    assert not torch.equal(student(x0, t).x0, student(x0, t).x0)
    before = torch.random.get_rng_state()
    teacher = constant(POINT, Flow(), "velocity")
    for method in (ECT(), CD()):
        torch.random.set_rng_state(before)
        loss, _ = method.loss(("student",), {"student": student, "teacher": teacher}, batch_of(x0), START)
        assert loss < 1e-3
        assert not torch.equal(torch.random.get_rng_state(), before)  # and the next pair gets another mask


def test_cd_reaches_its_target_by_one_ddim_step_of_the_teacher():
    schedule = Cosine()
    oracle, seen = mixture(schedule), []
    student = told(lambda x, t, s: x * 0.5, schedule, "x0")
    nets = {"student": student, "teacher": lambda *a: seen.append(a) or oracle(*a)}
    CD().loss(("student",), nets, batch_of(draws_of(oracle, 32)), MIDDLE)
    assert len(seen) == 1
    (xt, t, _, _), (xs, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    assert torch.equal(seen[0][1], t) and torch.equal(seen[0][2], s)
    for row in range(32):
        *_, end = SAMPLERS["ddim"](Guided(oracle), xt[row : row + 1], torch.stack([t[row], s[row]]))
        torch.testing.assert_close(xs[row : row + 1], end.x)


def test_the_mean_gradient_at_the_exact_consistency_function_falls_with_the_gap():
    """Data N(0, 0.25): f(x, t) = 0.5 x / std(x_t) is exact, and under squared distance no more than the gap is left."""
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
            ECT(start=start, distance=PseudoHuber(100.0)),
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


def test_settings_that_cannot_train_are_refused():
    for settings in ({"times": Importance()}, {"start": 0.0}, {"start": 1.5}):
        with pytest.raises(FastdiffError, match=next(iter(settings))):
            ECT(**settings)


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
    memory, schedule = law.memory(), Karras()
    t, weight = law.draw(SampleRng(0, torch.arange(n)), schedule, memory)
    assert torch.equal(weight, torch.ones(n, dtype=torch.float64))
    size = lambda share: 0.2 + 3 * share**2  # noqa: E731
    for _ in range(2):
        memory.record(size(t / schedule.t_max), t / schedule.t_max)
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


def test_the_memory_is_a_running_mean_that_first_forgets_nothing():
    memory = Importance(bins=2, decay=0.9).memory()
    memory.record(torch.tensor([1.0, 3.0]), torch.tensor([0.1, 0.2]))
    assert memory.moment.tolist() == [5.0, 0.0] and memory.count.tolist() == [2, 0]
    memory.record(torch.tensor([2.0, 7.0]), torch.tensor([0.1, 1.0]))
    assert memory.moment.tolist() == pytest.approx([0.9 * 5 + 0.1 * 4, 49.0], rel=1e-15)


# ---- denoising


def test_a_loss_at_chosen_times_is_the_loss_at_uniform_times():
    """The error in v is made (0.2 + 3 t^2)^2, whose mean over uniform t is known."""
    schedule, method = Flow(), Denoising(Importance(bins=8))
    student = told(lambda x, t, s: POINT + like(t * (0.2 + 3 * t**2), x), schedule, "velocity")
    nets, losses = {"student": student, **method.extras(student, None)}, []
    for seed in range(12):
        losses.append(method.loss(("student",), nets, batch_of(POINT.repeat(4096, 1), seed), START))
    exact = 0.04 + 2 * 0.2 * 3 / 3 + 9 / 5
    chosen = torch.stack([loss for loss, _ in losses[2:]])  # the first two fill the memory, at uniform times
    assert (chosen.mean() - exact).abs() < 4 * chosen.std() / len(chosen) ** 0.5
    assert losses[-1][1]["unweighted"] > 1.5 * exact


@pytest.mark.parametrize("times", [Uniform(), LogitNormal(), Importance(bins=4)], **named)
def test_the_minimum_is_at_the_truth(times):
    """The exact posterior mean, tilted by a parameter: no mean gradient in v at zero, and a plain one away from it."""
    schedule = Cosine()
    oracle = mixture(schedule)
    tilt = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    student = told(lambda x, t, s: oracle(x, t).x0 + like(t, x) * (tilt[0] * x + tilt[1]), schedule, "v")
    student.net.tilt = tilt
    method = Denoising(times)
    nets = {"student": student, **method.extras(student, None)}
    scores = {}
    for place in (0.0, 0.05):
        tilt.data.fill_(place)
        losses = (
            method.loss(("student",), nets, batch_of(draws_of(oracle, 2048, k), k), START)[0]
            for k in range(24)
        )
        found = torch.stack([torch.autograd.grad(loss, tilt)[0] for loss in losses])
        scores[place] = found.mean(0) / (found.std(0) / len(found) ** 0.5)
    assert scores[0.0].abs().max() < 3
    assert scores[0.05].min() > 10


def test_the_loss_is_the_error_in_the_networks_own_output():
    schedule, x0 = Cosine(), draws_of(mixture(Cosine()), 64)
    student = told(lambda x, t, s: torch.zeros_like(x), schedule, "v")
    loss, _ = Denoising().loss(("student",), {"student": student}, batch_of(x0), START)
    ((x, t, _, _),) = student.net.asked
    alpha, sigma = (like(c, x) for c in schedule.alpha_sigma(t))
    eps = (x - alpha * x0) / sigma
    wanted, guess = alpha * eps - sigma * x0, alpha * x / sigma  # v of the data, and of x0 = 0
    torch.testing.assert_close(loss, (wanted - guess).square().mean())


def test_labels_drop_to_the_null_class_in_their_share():
    labels, schedule = torch.arange(4000) % 3, Flow()
    student = told(lambda x, t, s: torch.zeros_like(x), schedule, "velocity")
    student.net.null_label = 3
    batch = batch_of(torch.zeros(4000, 2).double(), cond={"label": labels})
    Denoising(label_dropout=0.1).loss(("student",), {"student": student}, batch, START)
    seen = student.net.asked[0][3]["label"]
    kept = seen != 3
    assert abs((~kept).double().mean() - 0.1) < 3 * (0.09 / 4000) ** 0.5
    assert torch.equal(seen[kept], labels[kept]) and torch.equal(batch.cond["label"], labels)
    for share, expected in ((0.0, labels), (1.0, torch.full_like(labels, 3))):
        again = Denoising(label_dropout=share).dropped(student, batch)
        assert torch.equal(again["label"], expected)
    assert Denoising().dropped(student, batch_of(torch.zeros(4, 2))) is None  # data without labels
    student.net.null_label = None  # a network without passes them over
    assert Denoising().dropped(student, batch) is batch.cond
