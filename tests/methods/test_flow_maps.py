"""Flow maps (MeanFlow, shortcut, CTM) against closed forms: the truth, the way back to it, the toy learned in seconds."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import SCHEDULES, VP, Cosine, Flow, Karras, like
from fastdiff.data.toys import mixture, toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import Importance, LogitNormal, Uniform, heun
from fastdiff.methods.ctm import CTM, jump
from fastdiff.methods.meanflow import IMF, MeanFlow
from fastdiff.methods.shortcut import Shortcut
from fastdiff.networks import MLP, mlp
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.runs import recipe
from fastdiff.samplers.generate import plan, sample
from fastdiff.training.loop import TrainConfig, Training
from tests.methods.test_methods import MIDDLE, POINT, Dropping, batch_of, constant, named, told

ROOT = Path(__file__).parents[2]
NAMES = ("meanflow", "imf", "shortcut", "ctm")
SIZE = 0.5  # of the Gaussian whose flow map is known
SCHEDULES_HERE = pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP()], **named)


def average(t, r):
    """k of the exact average velocity u = k z of N(0, SIZE^2) from t to r, on the straight line: without 0 / 0 at r = t."""

    def std(t):
        return ((SIZE * (1 - t)) ** 2 + t**2).sqrt()

    return (SIZE**2 * (t + r - 2) + t + r) / (std(t) * (std(t) + std(r)))


def of_velocity(k, schedule):
    """A student whose average velocity is k(t, r) z, t and r on its own schedule; `tilt` makes it wrong."""
    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def clean(x, t, s):
        z = x / like(sum(schedule.alpha_sigma(t)), x)
        return z - like(schedule.straight(t) * (k(t, s) + tilt), x) * z

    model = told(clean, schedule, "v", (1,))
    model.net.tilt = tilt
    return model


def exact(schedule):
    return of_velocity(lambda t, s: average(schedule.straight(t), schedule.straight(s)), schedule)


def gaussian(schedule):
    return GaussianMixture(
        *(torch.tensor(v, dtype=torch.float64) for v in ([[0.0]], [SIZE], [1.0])), schedule
    )


def data(n, seed=0):
    return SIZE * SampleRng(seed ^ 0xDA7A, torch.arange(n)).normal((1,)).double()


def slopes(method, make, tilts=(0.0, 0.05, -0.05), n=4096, batches=16):
    """Mean gradient of the loss in the student's tilt, and how many of its standard errors that is."""
    found = []
    for tilt in tilts:
        student = make()
        with torch.no_grad():
            student.net.tilt.fill_(tilt)
        nets = {"student": student, "teacher": gaussian(student.schedule), "target": still(make, tilt)}
        each = [
            torch.autograd.grad(
                method.loss(("student",), nets, batch_of(data(n, seed), seed), MIDDLE)[0], student.net.tilt
            )[0]
            for seed in range(batches)
        ]
        each = torch.stack(each)
        found.append((each.mean(), each.mean() / (each.std() / batches**0.5)))
    return found


def still(make, tilt):
    """The running average of a student that does not move any more."""
    target = make().requires_grad_(False)
    target.net.tilt.fill_(tilt)
    return target


def test_the_closed_form_is_the_flow_map():
    """k z is the velocity at r = t, and two jumps in a row are one."""
    t, r = torch.tensor([0.9, 0.4, 1.0]).double(), torch.tensor([0.3, 0.1, 0.0]).double()
    oracle, z = gaussian(Flow()), torch.tensor([[0.7], [-1.0], [2.0]]).double()
    p = oracle(z, t)
    torch.testing.assert_close(like(average(t, t), z) * z, p.eps - p.x0)
    m, step = (t + r) / 2, lambda z, t, r: z - like((t - r) * average(t, r), z) * z  # noqa: E731
    torch.testing.assert_close(step(step(z, t, m), m, r), step(z, t, r))
    schedule = Cosine()  # and so it is where a student is on another schedule
    own = [schedule.time_of(u / (1 - u)) for u in (t, r)]
    far, near = (like(sum(schedule.alpha_sigma(time)), z) for time in own)
    torch.testing.assert_close(schedule.mix(*exact(schedule)(far * z, *own), own[1]) / near, step(z, t, r))


# ---- MeanFlow


@SCHEDULES_HERE
@pytest.mark.parametrize(
    "method",
    [MeanFlow(p=0.0), IMF(p=0.0), MeanFlow(p=0.0, times=Uniform(), share=0.0)],
    ids=["meanflow", "imf", "uniform"],
)
def test_the_mean_velocity_has_no_gradient_and_others_point_back(method, schedule):
    """With the squared distance (p = 0), whose mean over the data's noise the paper's identity is about."""
    (_, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule))
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


@SCHEDULES_HERE
def test_differences_see_the_same_truth(schedule):
    (_, still), (up, _), (down, _) = slopes(MeanFlow(p=0.0, differences=1e-3), lambda: exact(schedule))
    assert abs(still) < 3 and up > 0 > down


def double_student(schedule, predicts="v"):
    """A network of two times in float64 with every weight drawn."""
    torch.manual_seed(3)
    net = MLP(2, 16, 2, two_times=True).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return Denoiser(net, schedule, predicts, (2,), time_input="time", two_times=True)


@pytest.mark.parametrize("name", ["flow", "cosine", "vp", "karras", "trig", "ddpm", "sigmoid"])
@pytest.mark.parametrize("method", [MeanFlow(p=0.0, share=0.1), IMF(p=0.0)], ids=["meanflow", "imf"])
def test_the_derivative_is_that_of_central_differences(method, name):
    """Along z = (1 - t) x + t e with r held, whatever schedule the student is on; and the loss is made of it."""
    schedule = SCHEDULES[name]()
    if name == "karras":  # whose clock the network's waves are not made for
        schedule = Karras(t_max=3.0)
    student, x0 = double_student(schedule), torch.randn(64, 2, dtype=torch.float64)
    batch = batch_of(x0)
    t, r = method.pair(batch.rng, schedule)
    e = batch.rng.normal((2,)).double()
    tau, rho = schedule.straight(t), schedule.straight(r)
    path = method.path(student, schedule.mix(x0, e, t), t, None, (x0, e))

    def u(line):
        own = schedule.time_of(line / (1 - line))
        p = student(schedule.mix(*path, own), own, r)
        return p.eps - p.x0

    with torch.no_grad():
        h = 1e-6 * torch.minimum(tau, 1 - tau)
        wanted = (u(tau + h) - u(tau - h)) / like(2 * h, x0)
        found = method.derivative(student, path, t, r, None)
        smooth = torch.ones(64, dtype=torch.bool)
        if name == "ddpm":  # a table's alpha has corners
            smooth = (t - t.round()).abs() > 1e-3
        torch.testing.assert_close(found[smooth], wanted[smooth], rtol=1e-4, atol=1e-5)
        loss, logs = method.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
        error = u(tau) - (e - x0) + like(tau - rho, x0) * found
        torch.testing.assert_close(loss, error.square().sum(1).mean(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            logs["boundary"], error[tau == rho].square().sum(1).mean(), rtol=1e-6, atol=1e-9
        )
        rough = type(method)(p=0.0, differences=1e-4).derivative(student, path, t, r, None)
        inside = (tau - rho > 2e-4) & (tau < schedule.straight(torch.tensor(schedule.t_max)) - 2e-4)
        if name != "ddpm":
            torch.testing.assert_close(rough[inside], found[inside], rtol=2e-2, atol=2e-2)


def test_times_are_sorted_and_equal_in_their_share():
    for schedule in (Flow(), VP(), Cosine()):
        t, r = MeanFlow().pair(SampleRng(0, torch.arange(20_000)), schedule)
        assert (r <= t).all() and (r > 0).all() and (t <= schedule.t_max).all()
        assert abs((r == t).double().mean() - 0.25) < 4 * (0.1875 / 20_000) ** 0.5
    rng = SampleRng(0, torch.arange(20_000))
    draws = torch.stack([MeanFlow().times.draw(rng, Flow())[0] for _ in range(2)])
    torch.testing.assert_close(Cosine().straight(t), draws.amax(0))
    torch.testing.assert_close(Cosine().straight(r)[r < t], draws.amin(0)[r < t])
    assert MeanFlow().times == LogitNormal(-2.0, 2.0) and IMF().share == 0.5


@pytest.mark.parametrize(("p", "c"), [(0.75, 1e-3), (1.0, 1e-2), (0.0, 1e-3)])
def test_the_adaptive_weight_is_of_the_sum_and_has_no_gradient(p, c):
    """A loss of S^(1 - p), but whose gradient is that of S alone."""
    student, x0 = double_student(Flow(), "velocity"), torch.randn(32, 2, dtype=torch.float64)
    parameters = list(student.parameters())
    plain, weighted = MeanFlow(p=0.0), MeanFlow(p=p, c=c)
    total = 0.0
    for row in range(32):  # one sample at a time: its weight is a number
        rng = SampleRng(0, torch.tensor([row]))
        batch = batch_of(x0[row : row + 1])
        batch.rng = rng
        S = plain.loss(("student",), {"student": student}, batch, MIDDLE)[0]
        total = total + S / (S.detach() + c) ** p / 32
    wanted = torch.autograd.grad(total, parameters)
    found = torch.autograd.grad(
        weighted.loss(("student",), {"student": student}, batch_of(x0), MIDDLE)[0], parameters
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


# ---- shortcut models


def composed(schedule, steps):
    """k of a student whose shortest jumps follow the velocity and whose others are two of half their length."""

    def k(t, s):
        d, here, there = (t - s) / schedule.t_max, schedule.straight(t), schedule.straight(s)
        base, out = average(here, here), torch.empty_like(t)
        short = d < 1.5 / steps
        out[short] = base[short]
        if (~short).any():
            t, s, here, there = (v[~short] for v in (t, s, here, there))
            mid = (t + s) / 2
            line = schedule.straight(mid)
            first, second = k(t, mid), k(mid, s)
            out[~short] = ((here - line) * first + (line - there) * second * (1 - (here - line) * first)) / (
                here - there
            )
        return out

    return lambda: of_velocity(k, schedule)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_a_student_that_composes_its_jumps_has_no_gradient(schedule):
    method = Shortcut(steps=16, share=0.5)
    make = composed(schedule, 16)
    nets = {"student": make(), "target": make().requires_grad_(False)}
    _, logs = method.loss(("student",), nets, batch_of(data(512)), MIDDLE)
    assert logs["self_error"] < 1e-24 and logs["flow"] > 0.1
    (_, still), (up, high), (down, low) = slopes(method, make)
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


def test_shortest_jumps_and_their_doubles_on_the_grid():
    schedule, n = Cosine(), 8192
    student, target = exact(schedule), exact(schedule)
    Shortcut().loss(("student",), {"student": student, "target": target}, batch_of(data(n)), MIDDLE)
    ((_, t, s, _),), (first, second) = student.net.asked, target.net.asked
    d, size = t - s, 1 / 128
    assert (t / d == (t / d).round()).all() and (s >= 0).all() and (t <= 1).all()
    long = d > size
    share = torch.bincount((d[long] * 64).log2().long(), minlength=7) / long.sum()
    assert abs(long.double().mean() - 1 / 8) < 4 * (7 / 64 / n) ** 0.5 and set(d[~long].tolist()) == {size}
    assert ((share - 1 / 7).abs() < 4 * (6 / 49 / long.sum()) ** 0.5).all()
    assert t[long & (d == 1)].unique().tolist() == [1.0] and len(t[~long].unique()) == 128
    halves = [first[1] - first[2], second[1] - second[2]]
    assert (
        torch.equal(first[1], t[long])
        and torch.equal(first[2], second[1])
        and torch.equal(second[2], s[long])
    )
    assert torch.equal(*halves) and torch.equal(halves[0], d[long] / 2)


def test_a_batch_of_shortest_jumps_asks_no_average():
    student = exact(Flow())
    loss, logs = Shortcut(share=1e-9).loss(
        ("student",), {"student": student, "target": None}, batch_of(data(8)), MIDDLE
    )
    assert loss.isfinite() and set(logs) == {"flow"}
    assert Shortcut().averages()["target"](Progress(10**6, 10**6, 0)) == 0.999
    assert Shortcut().averages()["target"](Progress(0, 100, 0)) == 0.1


# ---- CTM


def agreement(schedule, points):
    nets = {
        "student": exact(schedule),
        "target": exact(schedule).requires_grad_(False),
        "teacher": gaussian(schedule),
    }
    losses = (
        CTM(points=points).loss(("student",), nets, batch_of(data(512, k), k), MIDDLE) for k in range(12)
    )
    found = [logs["agreement"] for _, logs in losses]
    return float(torch.stack(found).detach().mean())


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
def test_the_exact_trajectory_agrees_as_the_teachers_steps_shrink(schedule):
    coarse, fine = agreement(schedule, 18), agreement(schedule, 72)
    assert fine < coarse / 16 and fine < 1e-5


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
@pytest.mark.parametrize("method", [CTM(dsm=0.0, points=40), CTM()], ids=["agreement", "both"])
def test_ctm_points_back_to_the_trajectory(method, schedule):
    (zero, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule), n=1024, batches=24)
    assert up > 0 > down and high > 4 and low < -4
    assert abs(zero) < 0.1 * (up - down) or abs(still) < 3


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], **named)
def test_denoising_score_matching_has_no_gradient_at_the_truth(schedule):
    method = CTM()
    method.distance = lambda a, b: 0 * (a - b).flatten(1).sum(1)
    (_, still), (up, high), (down, low) = slopes(method, lambda: exact(schedule))
    assert abs(still) < 3
    assert up > 0 > down and high > 5 and low < -5


def test_the_times_of_ctm():
    schedule, method = Cosine(), CTM(points=9)
    for other in (Flow(), Karras(), SCHEDULES["ddpm"](), SCHEDULES["sigmoid"](), VP()):
        grid = method.time(other, torch.arange(9).double())
        assert (
            grid[0].abs() < 1e-9
            and abs(grid[-1] - other.t_max) < 1e-6 * other.t_max
            and (grid.diff() > 0).all()
        )
    torch.testing.assert_close(method.time(schedule, torch.arange(9).double()), torch.arange(9).double() / 8)
    lengths = set()
    for seed in range(40):
        student, target, teacher, seen = exact(schedule), exact(schedule), gaussian(schedule), []
        ask = lambda *a, seen=seen, teacher=teacher: seen.append(a) or teacher(*a)  # noqa: E731
        nets = {"student": student, "target": target, "teacher": ask}
        method.loss(("student",), nets, batch_of(data(64, seed), seed), MIDDLE)
        ((_, t, s, _),) = student.net.asked
        (t, low), (s, same) = t.split(64), s.split(64)
        assert torch.equal(low, same) and (low > 0).all()
        steps, u = len(seen) // 2, seen[-1][1]  # u: where the last step ends
        torch.testing.assert_close(t - u, torch.full_like(t, steps / 8))
        assert (s <= u).all() and (s >= 0).all() and (t <= 1).all() and (t == 1).any() and (s == 0).any()
        torch.testing.assert_close(target.net.asked[1][1][u > s], u[u > s])
        lengths.add(steps)
    assert lengths == set(range(1, 9))
    assert CTM(points=9).teacher_nfe() == 9 == 2 * sum(range(1, 9)) / 8


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
def test_a_jump_lands_on_the_trajectory_and_stays_where_it_is(schedule):
    t, s = (schedule.t_max * torch.tensor(v).double() for v in ([0.8, 0.5, 0.5, 0.0], [0.1, 0.0, 0.5, 0.0]))
    x = torch.ones(4, 1).double()

    def std(t):
        alpha, sigma = schedule.alpha_sigma(t)
        return ((SIZE * alpha) ** 2 + sigma**2).sqrt()

    torch.testing.assert_close(jump(exact(schedule), x, t, s, None), x * like(std(s) / std(t), x))
    errors = [
        float(
            (
                heun(gaussian(schedule), schedule, x[:1], t[:1], t[:1] * (1 - h), None)
                - x[:1] * std(t[:1] * (1 - h)) / std(t[:1])
            ).abs()
        )
        for h in (0.1, 0.05)
    ]
    assert 6 < errors[0] / errors[1] < 10  # third order in one step


# ---- all of them


@pytest.mark.parametrize("name", NAMES)
def test_at_rest_with_dropout_and_labels(name):
    """One data point, a network with dropout whose output is the point: no loss; and the condition reaches every pass."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.conds = nn.Dropout(0.5), []

        def forward(self, x, t, s=None, cond=None):
            self.conds.append((len(x), cond["label"]))
            return POINT.expand_as(x) + 0 * self.drop(x)

    net, labels = Noisy(), torch.arange(64) % 3
    student = Denoiser(net, Flow(), "x0", (2,), time_input="time", two_times=True).train()
    nets = {"student": student, "target": student, "teacher": constant(POINT, Flow(), "velocity")}
    loss, _ = METHODS[name]().loss(
        ("student",), nets, batch_of(POINT.repeat(64, 1), cond={"label": labels}), MIDDLE
    )
    assert abs(loss) < 1e-12
    assert all(n == len(label) for n, label in net.conds) and torch.equal(net.conds[0][1][:64], labels)


@pytest.mark.parametrize(
    "method",
    [MeanFlow(p=0.0, share=0.0), IMF(p=0.0, share=0.0), MeanFlow(p=0.0, differences=0.01)],
    ids=["meanflow", "imf", "differences"],
)
def test_passes_share_their_dropout_mask(method):
    """u of both passes is of one mask, as the derivative's own value says."""
    torch.manual_seed(0)
    net = Dropping(2, 16, 1, two_times=True)
    nn.init.normal_(net.last.weight)
    student = Denoiser(net, Cosine(), "v", (2,), two_times=True).train()
    before = torch.random.get_rng_state()
    method.loss(("student",), {"student": student}, batch_of(torch.randn(16, 2)), MIDDLE)
    masks = net.masks
    assert len(masks) == (3 if method != MeanFlow(p=0.0, share=0.0) else 2)
    assert all(torch.equal(mask, masks[0]) for mask in masks) and 0 < masks[0].mean() < 2
    assert not torch.equal(torch.random.get_rng_state(), before)  # and the next step gets another


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanFlow(times=Importance()), "importance is for denoising"),
        (lambda: MeanFlow(share=1.0), "share = 1.0"),
        (lambda: MeanFlow(p=-1.0), "p = -1.0"),
        (lambda: IMF(c=0.0), "c = 0.0"),
        (lambda: IMF(differences=1.0), "differences"),
        (lambda: Shortcut(steps=100), "steps = 100: expected a power of two"),
        (lambda: Shortcut(steps=1), "steps = 1"),
        (lambda: Shortcut(share=0.0), "share = 0.0"),
        (lambda: Shortcut(mu=1.0), "mu = 1.0"),
        (lambda: CTM(points=1), "points = 1"),
        (lambda: CTM(mu=-0.1), "mu = -0.1"),
        (lambda: CTM(dsm=-1.0), "dsm = -1.0"),
        (lambda: CTM(times=Importance()), "importance is for denoising"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_its_recipe_and_its_sampler(name):
    loaded = recipe.load(ROOT / f"recipes/methods/{name}.yaml")
    (stage,) = loaded.stages
    assert stage.method_name == name and (stage.teacher or stage.init) == "checkpoints/digits-labels/teacher"
    student = stage.method.student(
        Denoiser(mlp((2,), width=8), Cosine(), "v", (2,), sampling=stage.method.sampling())
    )
    assert (
        student.two_times
        and [plan(student, None, k, None, {})[0] for k in student.sampling.steps] == ["ddim"] * 4
    )


# ---- learning


def trained(method, start, folder, steps=300, **settings):
    """The average of a student after some steps from a model."""
    student = method.student(deepcopy(start))
    student.sampling = method.sampling()
    config = TrainConfig(
        **{"steps": steps, "batch": 256, "lr": 1e-3, "ema": 0.98} | method.training | settings
    )
    teacher = GaussianMixture(*mixture(), start.schedule) if method.teaches else None
    training = Training(
        method, Progress, student, teacher, toy(n=4000), config, folder, Accelerator(cpu=True)
    )
    for _ in training:
        pass
    return training.average


def energy(model, steps):
    return discrepancy(
        sample(model, "ddim", steps=steps, n=2000), toy(n=2000, seed=1).examples, distance
    ).value


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Denoisers of the toy, from which students start: one told t in 0 to 1, one in a thousand ticks."""

    def start(clock):
        torch.manual_seed(0)
        model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,), time_input=clock)
        return trained(
            METHODS["denoising"](), model, tmp_path_factory.mktemp(clock), 600, lr=2e-3, decay="cosine"
        )

    return {clock: start(clock) for clock in ("time", "timestep")}


@pytest.mark.parametrize(
    ("method", "clock", "share"),
    [
        (MeanFlow(), "time", 0.3),
        (MeanFlow(differences=0.03), "timestep", 0.4),
        (IMF(times=LogitNormal(-2.0, 2.0), share=0.25, p=0.75, c=1e-3), "time", 0.5),
        (Shortcut(mu=0.95), "timestep", 0.3),
        (CTM(points=9, mu=0.95), "timestep", 0.15),
    ],
    ids=["meanflow", "meanflow-differences", "imf", "shortcut", "ctm"],
)
def test_it_learns_the_toy(method, clock, share, starts, tmp_path):
    student = trained(method, starts[clock], tmp_path, lr=2e-3)
    before, (one, two) = energy(starts[clock], 1), (energy(student, k) for k in (1, 2))
    print(type(method).__name__, clock, round(before, 4), round(one / before, 4), round(two / before, 4))
    assert one < share * before
    assert two < (
        share * before if isinstance(method, CTM) else one
    )  # CTM's two steps are as good as its one
