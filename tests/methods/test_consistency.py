"""The consistency family against closed forms: laws, curricula, the teacher's steps, the truth and the way back to it."""

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import nn

from fastdiff.core.denoiser import Denoiser, Sampling, ratio_of
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow, Karras, like
from fastdiff.data.toys import mixture, toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import L1, LogNormal, PseudoHuber, SquaredL2, Uniform
from fastdiff.methods.consistency import CD, CT, ECT, ICT
from fastdiff.methods.diagnostics import boundary, by_level
from fastdiff.methods.progressive import implied
from fastdiff.methods.tcm import TCM
from fastdiff.methods.time_sampling import KarrasIndex, LogNormalIndex, StudentT
from fastdiff.networks import mlp
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.runs import recipe
from fastdiff.runs.stage import described
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import plan, sample
from fastdiff.training.loop import TrainConfig, Training
from tests.methods.test_methods import MIDDLE, POINT, batch_of, constant, named, told

ROOT = Path(__file__).parents[2]
END = Progress(999, 1000, 0)
SIZE = 0.5  # of the Gaussian whose every answer is known


def std(schedule, t):
    alpha, sigma = schedule.alpha_sigma(t)
    return ((SIZE * alpha) ** 2 + sigma**2).sqrt()


def exact(schedule, tilt=None):
    """f(x, t) = size x / std(x_t), the consistency function of N(0, size^2); tilt times t / t_max makes it wrong."""
    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64)) if tilt is None else tilt
    model = told(
        lambda x, t, s: like(SIZE / std(schedule, t) * (1 + tilt * t / schedule.t_max), x) * x,
        schedule,
        "v",
        (1,),
    )
    model.net.tilt = tilt
    return model


def gaussian(schedule):
    return GaussianMixture(
        *(torch.tensor(v, dtype=torch.float64) for v in ([[0.0]], [SIZE], [1.0])), schedule
    )


def data(n, seed=0):
    return SIZE * SampleRng(seed, torch.arange(n)).normal((1,)).double()


def rng(n, seed=0):
    return SampleRng(seed, torch.arange(n))


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


# ---- distances and health figures


def test_distances_are_their_formulas():
    a, b = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    e = (a - b).flatten(1)
    torch.testing.assert_close(SquaredL2()(a, b), e.square().sum(1) / 12)
    torch.testing.assert_close(L1()(a, b), e.abs().sum(1) / 12)
    c = 0.1 * 12**0.5
    torch.testing.assert_close(PseudoHuber(0.1)(a, b), (e.norm(dim=1) ** 2 + c**2).sqrt() - c)
    assert all(
        way(a.bfloat16(), b.bfloat16()).dtype == torch.float32 for way in (SquaredL2(), L1(), PseudoHuber())
    )
    with pytest.raises(FastdiffError, match="c = 0"):
        PseudoHuber(0)


def test_distances_are_settings_of_a_recipe():
    chosen = {"distance": {"name": "pseudo_huber", "c": 0.03}, "times": {"name": "karras", "points": 9}}
    spec = {
        "name": "toy",
        "data": "toy",
        "model": {"net": "mlp"},
        "stages": {
            "a": {"method": {"name": "ect", **chosen}},
            "b": {"method": {"name": "ct", "distance": "l1"}},
        },
    }
    first, second = recipe.build(spec).stages
    assert (first.method.distance, first.method.times) == (PseudoHuber(0.03), KarrasIndex(9))
    assert second.method.distance == L1()
    spec["stages"]["b"]["method"]["distance"] = "l3"
    with pytest.raises(FastdiffError, match="choose from squared_l2, l1, pseudo_huber, huber, lpips"):
        recipe.build(spec)


def test_a_figure_by_level():
    figures = by_level("e", torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0.1, 0.3, 1.0]).double())
    assert figures["e"] == 4 and [float(figures[f"e_{k}"]) for k in ("low", "mid", "high")] == [2, 0, 8]


def test_a_figure_by_level_keeps_what_is_not_finite_in_its_level():
    figures = by_level("e", torch.tensor([1.0, math.inf, 8.0]), torch.tensor([0.1, 0.5, 1.0]).double())
    assert [float(figures[k]) for k in ("e_low", "e_mid", "e_high")] == [1, math.inf, 8]


def test_the_boundary_error_is_that_of_clean_predictions_near_the_data():
    schedule, x0 = Flow(), torch.zeros(3, 4)
    t, f = (
        torch.tensor([0.01, 0.05, 0.5], dtype=torch.float64),
        torch.tensor([[1.0], [3.0], [100.0]]).expand(3, 4),
    )
    assert boundary(schedule, t, f, x0)["boundary"] == 2
    assert boundary(schedule, t[2:], f[2:], x0[2:])["boundary"] == 0
    student, x0 = exact(schedule), data(4096)
    _, logs = ECT().loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    (x, t, _, _), _ = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    near = t / (1 - t) < 0.1
    torch.testing.assert_close(
        logs["boundary"], (SIZE / std(schedule, t) * x[:, 0] - x0[:, 0]).abs()[near].mean()
    )


# ---- curricula


def test_the_grids_of_ct_grow_by_the_papers_formula_and_its_average_slows():
    method, K = CT(), 800
    for k in (0, 1, 100, 399, 799):
        N = math.ceil(math.sqrt(k / K * (151**2 - 2**2) + 2**2) - 1) + 1
        progress = Progress(k, K, 0)
        assert method.points(progress) == N
        assert method.averages()["target"](progress) == pytest.approx(math.exp(2 * math.log(0.9) / (N - 1)))
    assert (method.points(Progress(0, K, 0)), method.points(Progress(K, K, 0))) == (2, 151)


def test_the_grids_of_ict_double_in_equal_shares():
    K = 400
    assert [ICT().points(Progress(k, K, 0)) for k in range(0, K, 50)] == [10 * 2**j + 1 for j in range(8)]
    assert (
        ICT().points(Progress(K - 1, K, 0)) == 1281 and ICT(s0=10, s1=50).points(Progress(K - 1, K, 0)) == 51
    )


@pytest.mark.parametrize("method", [CT, ICT])
def test_pairs_of_growing_grids(method):
    x0, student = data(4000), exact(Cosine())
    for progress in (Progress(0, 100, 0), MIDDLE):
        student.net.asked.clear()
        made = method()
        nets = {"student": student, **dict.fromkeys(made.averages(), student)}
        made.loss(("student",), nets, batch_of(x0), progress)
        (_, t, zero, _), (_, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
        law = type(made.times)(points=made.points(progress))
        grid = Cosine().time_of(law.ratios(Cosine()))
        assert len(grid) == made.points(progress) and torch.isin(t, grid[1:]).all() and (zero == 0).all()
        assert torch.equal(grid[torch.searchsorted(grid, t) - 1], s)


def test_the_weight_of_ict_is_the_reciprocal_of_the_gap_in_sigma():
    schedule, x0, progress = Karras(), data(512), Progress(0, 100, 0)
    student = told(lambda x, t, s: x * 0.5, schedule, "edm", (1,))
    loss, _ = ICT(distance=SquaredL2()).loss(("student",), {"student": student}, batch_of(x0), progress)
    (x, t, _, _), (near, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    torch.testing.assert_close(loss, ((x - near)[:, 0].square() / 4 / (t - s)).mean())


def test_the_pairs_of_a_grid_weigh_1_in_cd():
    student = told(lambda x, t, s: x * 0.5, Cosine(), "v", (1,))
    nets = {"student": student, "teacher": gaussian(Cosine())}
    loss, _ = CD(times=KarrasIndex(), distance=SquaredL2()).loss(
        ("student",), nets, batch_of(data(512)), MIDDLE
    )
    (x, *_), (near, *_) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    torch.testing.assert_close(loss, ((x - near).square() / 4).mean())


def test_the_papers_map_of_ect():
    """r(t) = t (1 - q^-(stage + 1) (1 + 8 sigmoid(-t))), q = 2, clamped at 0; a stage every so many images."""
    method, t = ECT(k=8.0, images=1000), torch.tensor([0.01, 0.5, 2.0, 40.0], dtype=torch.float64)
    for images, stage in ((0, 0), (999, 0), (1000, 1), (3500, 3), (10**6, 8)):
        wanted = (t * (1 - 2.0 ** -(stage + 1) * (1 + 8 * torch.sigmoid(-t)))).clamp(min=0)
        torch.testing.assert_close(method.below(Karras(), t, Progress(500, 1000, images)), wanted)
    assert method.below(Karras(), t, Progress(0, 1000, 0))[0] == 0
    student = Denoiser(mlp((2,), width=16), Karras(), "edm", (2,), time_input="edm", scale_input=True)
    loss, _ = method.loss(
        ("student",), {"student": student}, batch_of(toy(n=512).examples), Progress(0, 1000, 0)
    )
    assert torch.isfinite(loss)  # s = 0 is among the times


def test_ect_and_cd_are_what_they_were():
    """The very numbers of the plain formula; and the shipped students' settings, so that none is stale."""
    assert described(METHODS["ect"](halvings=6)) == {"halvings": 6} == described(CD(halvings=6))
    net, schedule, x0 = mlp((2,), width=16), Cosine(), toy(n=64).examples
    nn.init.normal_(net.last.weight)
    student, noise = Denoiser(net, schedule, "v", (2,)), rng(64)
    loss, _ = ECT().loss(("student",), {"student": student}, batch_of(x0), MIDDLE)
    t, _ = Uniform().draw(noise, schedule, None)
    s, eps = t * (1 - 0.5 * 2.0**-4), noise.normal((2,))
    f, near = (student(schedule.mix(x0, eps, u), u).x0 for u in (t, s))
    huber = ((f - near).square().sum(1) + (0.00054 * 2**0.5) ** 2).sqrt() - 0.00054 * 2**0.5
    assert torch.equal(loss, (huber * schedule.t_max / (t - s)).mean())


# ---- the teacher's step


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
@pytest.mark.parametrize(("solver", "order"), [("euler", 2), ("heun", 3)])
def test_the_error_of_the_teachers_step(solver, order, schedule):
    oracle, t = gaussian(schedule), torch.tensor([0.5], dtype=torch.float64)
    x, errors = torch.ones(1, 1, dtype=torch.float64), []
    for step in (0.05, 0.025, 0.0125):
        s = t - step
        near = CD(solver=solver).nearer({"student": oracle, "teacher": oracle}, batch_of(x), x, None, t, s)
        errors.append(float((near - x * std(schedule, s) / std(schedule, t)).abs()))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.15) and errors[2] < 1e-3


@pytest.mark.parametrize("schedule", [Flow(), Karras()], **named)
def test_heuns_step_is_the_samplers_where_the_path_is_straight(schedule):
    oracle, x = gaussian(schedule), torch.tensor([[1.0], [-0.3]], dtype=torch.float64)
    t, s = (torch.tensor(v, dtype=torch.float64) for v in (0.8, 0.3))
    *_, end = SAMPLERS["heun"](Guided(oracle), x, torch.stack([t, s]))
    nets, t, s = {"student": oracle, "teacher": oracle}, t.expand(2), s.expand(2)
    torch.testing.assert_close(CD(solver="heun").nearer(nets, batch_of(x), x, None, t, s), end.x)
    torch.testing.assert_close(
        CD(solver="heun").nearer(nets, batch_of(x), x, None, t, 0 * s), oracle(x, t).x0
    )  # Euler's
    assert (CD(solver="heun").teacher_nfe(), CD().teacher_nfe()) == (2, 1)


# ---- the truth


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
@pytest.mark.parametrize("settings", [{}, {"times": KarrasIndex(), "mu": 0.95}], ids=["gap", "grid"])
def test_along_the_exact_trajectory_the_exact_function_has_no_loss(settings, schedule):
    def x0(x, t, s):
        return implied(schedule, x, t, like(std(schedule, s) / std(schedule, t), x) * x, s)

    method, student = CD(distance=SquaredL2(), **settings), exact(schedule)
    nets = {
        "student": student,
        "teacher": told(x0, schedule, "x0", (1,)),
        **dict.fromkeys(method.averages(), student),
    }
    loss, logs = method.loss(("student",), nets, batch_of(data(512)), MIDDLE)
    loss.backward()
    assert loss < 1e-20 and student.net.tilt.grad.abs() < 1e-9 and logs["self_error"] < 1e-10


METHODS_AT_TRUTH = [
    ECT(start=0.004, halvings=0, distance=SquaredL2()),
    ECT(times=KarrasIndex(600), distance=SquaredL2()),
    CD(start=0.02, halvings=0, distance=SquaredL2()),
    CD(times=KarrasIndex(100), solver="heun", mu=0.9, distance=SquaredL2()),
    CT(s1=600),
    ICT(distance=SquaredL2()),
    TCM(start=0.01, distance=SquaredL2()),
]


@pytest.mark.parametrize("method", METHODS_AT_TRUTH, **named)
def test_the_gradient_vanishes_at_the_truth_and_points_back_to_it(method):
    """Squared distances, for whose mean the pairs of one noise are as good as trajectories, up to the gap."""
    schedule, slopes = Cosine(), {}
    for tilt in (-0.1, 0.0, 0.1):
        found = []
        for seed in range(8):
            student = exact(schedule)
            student.net.tilt.data.fill_(tilt)
            nets = {
                "student": student,
                "teacher": gaussian(schedule),
                "stage_one": exact(schedule),
                **{r: exact(schedule, student.net.tilt.detach()) for r in method.averages()},
            }
            loss, _ = method.loss(("student",), nets, batch_of(data(1 << 14, seed), seed + 100), END)
            found.append(torch.autograd.grad(loss, student.net.tilt)[0])
        found = torch.stack(found)
        slopes[tilt] = found.mean(), found.std() / 8**0.5
    (down, at), (truth, error), (up, around) = slopes.values()
    assert down < -5 * at and up > 5 * around
    assert truth.abs() < 3 * error + 0.1 * up  # what the gap leaves


@pytest.mark.parametrize("name", ["ect", "cd", "ct", "ict", "tcm"])
def test_at_rest_on_one_point(name):
    method, schedule = METHODS[name](), Cosine()
    student, still = (constant(POINT, schedule, "v") for _ in range(2))
    still.sampling = Sampling("consistency")
    nets = {
        "student": student,
        "teacher": still,
        **method.frozen(student, still),
        **dict.fromkeys(method.averages(), still),
    }
    loss, logs = method.loss(("student",), nets, batch_of(POINT.repeat(256, 1)), MIDDLE)
    loss.backward()
    assert loss.abs() < 1e-9 and student.net.point.grad.abs().max() < 1e-6
    assert all(torch.isfinite(v) for v in logs.values()) and logs["self_error"] < 1e-9


class Dropping(nn.Module):
    """A network of dropout that keeps what every pass let through of ones."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)).double()
        self.seen = []

    def forward(self, x, t, s=None, cond=None):
        hidden = self.layers[1](self.layers[0](x))
        self.seen.append(hidden.detach() != 0)
        return self.layers[2](hidden) * (1 + t[:, None])


@pytest.mark.parametrize("method", [ECT(), CD(mu=0.9), CD(solver="heun"), CT(), ICT(), TCM()], **named)
def test_with_r_at_t_there_is_no_loss_though_dropout_is_on(method, monkeypatch):
    """The passes can only differ by their masks, and every loss but CT's and CD's average weighs that by a billion."""

    def close(t):
        return t * (1 - 1e-9)

    monkeypatch.setattr(ECT, "below", lambda self, schedule, t, progress: close(t))
    draw = KarrasIndex.pair
    monkeypatch.setattr(KarrasIndex, "pair", lambda *a: (t := draw(*a)[0], close(t)))
    torch.manual_seed(0)
    student = Denoiser(Dropping(), Flow(), "velocity", (2,), time_input="time").train()
    nets = {
        "student": student,
        "teacher": constant(POINT, Flow(), "velocity"),
        "stage_one": deepcopy(student),
        **{r: deepcopy(student).eval() for r in method.averages()},
    }
    before = torch.random.get_rng_state()
    loss, _ = method.loss(("student",), nets, batch_of(torch.randn(64, 2, dtype=torch.float64)), MIDDLE)
    assert loss < 1e-3
    assert not torch.equal(torch.random.get_rng_state(), before)
    masks = [
        mask
        for net in {id(n.net): n.net for n in nets.values()}.values()
        for mask in getattr(net, "seen", [])
    ]
    assert len(masks) == (3 if "stage_one" in nets and isinstance(method, TCM) else 2)
    assert all(torch.equal(mask, masks[0]) for mask in masks)


# ---- truncated


def test_tcm_trains_above_its_edge_and_asks_stage_one_below():
    schedule, asked = Cosine(), []
    student, stage_one = exact(schedule), told(lambda x, t, s: torch.full_like(x, 7.0), schedule, "v", (1,))
    method = TCM(start=0.3, distance=SquaredL2())
    loss, logs = method.loss(
        ("student",), {"student": student, "stage_one": stage_one}, batch_of(data(8000)), MIDDLE
    )
    (x, t, _, _), (near, s, _, _) = sorted(student.net.asked, key=lambda asked: -asked[1].sum())
    edge = float(method.edge(schedule))
    assert edge == pytest.approx(0.5) and (t >= edge * (1 - 1e-12)).all()  # sigma = alpha
    on = t == method.edge(schedule)
    assert abs(on.double().mean() - 0.25) < 3 * (0.1875 / 8000) ** 0.5
    target = torch.where(s[:, None] < edge, 7.0, like(SIZE / std(schedule, s), near) * near)
    error = (like(SIZE / std(schedule, t), x) * x - target).square()[:, 0] / (t - s)
    wanted = (error * ~on).mean() / 0.75 + 0.1 * (
        error * on
    ).mean() / 0.25  # the means of both kinds, on average
    torch.testing.assert_close(loss, wanted)
    assert logs["boundary"] > 1 and not asked


def test_tcm_keeps_a_frozen_copy_of_its_teacher_and_refuses_others():
    student, teacher = exact(Cosine()).train(), exact(Cosine()).eval()
    with pytest.raises(FastdiffError, match="second stage"):
        TCM().frozen(student, teacher)
    teacher.sampling = Sampling("consistency")
    copy = TCM().frozen(student, teacher)["stage_one"]
    assert copy is not teacher and copy.training and not teacher.training
    _, times, _ = plan(Denoiser(mlp((2,)), Cosine(), "v", (2,), sampling=TCM().sampling()), None, 2, None, {})
    torch.testing.assert_close(ratio_of(Cosine(), times[:2]), torch.tensor([80.0, 1.0], dtype=torch.float64))


# ---- settings


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (CD, {"mu": 1.0}),
        (CT, {"s0": 1}),
        (CT, {"s0": 10, "s1": 5}),
        (CT, {"times": Uniform()}),
        (ICT, {"times": LogNormal()}),
        (CT, {"mu0": 1.0}),
        (TCM, {"truncation": 2.0}),
        (TCM, {"times": LogNormal()}),
        (TCM, {"boundary_share": 0.0}),
        (TCM, {"boundary_weight": 0.0}),
    ],
)
def test_settings_that_cannot_train_are_refused(method, settings):
    with pytest.raises(
        FastdiffError, match=list(settings)[-1] if method is not TCM else "truncation|boundary"
    ):
        method(**settings)


@pytest.mark.parametrize("name", ["ect", "cd", "ct", "ict", "tcm"])
def test_a_student_without_the_identity_at_data_is_refused(name):
    with pytest.raises(FastdiffError, match="choose v, velocity or edm"):
        METHODS[name]().extras(Denoiser(mlp((2,)), Cosine(), "eps", (2,)), None)


@pytest.mark.parametrize("name", ["cd", "ct", "ict", "ect", "tcm", "sct", "scd"])
def test_its_recipe(name):
    made = recipe.load(ROOT / f"recipes/methods/{name}.yaml")
    assert (
        made.stages[-1].method_name == name
        and tuple(made.bench.steps) == (1, 2, 4, 8)
        and made.bench.n == 1797
    )
    assert any(
        "checkpoints/digits-labels/teacher" in (stage.teacher or "", stage.init or "")
        for stage in made.stages
    )


# ---- learning: 300 steps on the toy mixture


TOY = toy(n=4000)


def trained(method, student, teacher, folder, steps=300, **settings):
    """The exported average of a short training, sampled as its method says."""
    torch.set_num_threads(1)
    settings = {"steps": steps, "batch": 256, "ema": 0.98, "log_every": steps, **method.training, **settings}
    student = deepcopy(student).train().requires_grad_(True)
    run = Training(
        method, Progress, student, teacher, TOY, TrainConfig(**settings), folder, Accelerator(cpu=True)
    )
    logs = [logs for _, logs in run][-1]
    assert all(math.isfinite(v) for v in logs.values()) and "loss" in logs
    run.average.sampling = method.sampling()
    return run.average


def energy(model, steps, sampler=None):
    x = sample(model, sampler, steps=steps, n=2000, seed=3)
    return discrepancy(x, TOY.examples[:2000], distance).value


def denoiser(folder, time_input="timestep"):
    """A denoiser of the mixture, from which students start."""
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,), time_input)
    return trained(METHODS["denoising"](), model, None, folder, 600, lr=2e-3, decay="cosine")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return denoiser(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def oracle():
    return GaussianMixture(*(v.float() for v in mixture()), Cosine())


@pytest.mark.parametrize(
    ("method", "share"),
    [
        (ECT(), 0.2),
        (CD(), 0.2),
        (CD(times=KarrasIndex(), solver="heun", mu=0.9, distance=SquaredL2()), 0.2),
        (CT(s1=20, mu0=0.5), 0.3),
        (ICT(), 0.2),
    ],
    ids=["ect", "cd", "cd-karras-heun", "ct", "ict"],
)
def test_it_learns(method, share, start, oracle, tmp_path):
    """CT with a smaller grid and a faster average than the paper's, which are made for 800,000 steps."""
    student = trained(method, start, oracle if method.teaches else None, tmp_path)
    before, one, two = energy(start, 1, "consistency"), energy(student, 1), energy(student, 2)
    assert one < share * before and two < one


def test_the_second_stage_learns(start, tmp_path):
    one = trained(ECT(), start, None, tmp_path / "one")
    two = trained(TCM(), one, one, tmp_path / "two")
    assert energy(two, 1) < 0.1 * energy(start, 1, "consistency") and energy(two, 2) < energy(two, 1)
    assert energy(two, 1) < 1.2 * energy(one, 1)
