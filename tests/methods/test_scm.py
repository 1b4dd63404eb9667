"""sCM against closed forms: TrigFlow's algebra on pairs, derivatives, the truth and the way back to it."""

import math

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import ratio_of
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.data.toys import mixture
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.jvp import jvp
from fastdiff.methods.scm import SCD, SCT, Weighting, angle, flow
from fastdiff.networks import mlp, unet
from fastdiff.networks.oracle import GaussianMixture
from tests.helpers.consistency import Dropping, data, denoiser, energy, exact, gaussian, trained
from tests.helpers.oracles import MIDDLE, PARAMETERISATIONS, POINT, batch_of, constant, named

MODELS = [
    (Flow(), "velocity"),
    (Cosine(), "v"),
    (Karras(), "edm"),
    (Trig(), "velocity"),
    (VP(), "v"),
    (Sigmoid(), "v"),
    (DDPM(), "v"),
]


WARM = Progress(50, 100, 10**9)  # r = 1


def smooth(schedule, predicts, sigma_data=1.0, time_input="time"):
    """A random network in float64, at a few times away from the ends."""
    torch.manual_seed(0)
    net = mlp((2,), width=16, depth=1)
    nn.init.normal_(net.last.weight)
    model = Denoiser(
        net.double(), schedule, predicts, (2,), time_input, sigma_data, scale_input=predicts == "edm"
    )
    ratio = torch.tensor([0.05, 0.3, 1.0, 2.5, 20.0], dtype=torch.float64)
    return model, schedule.time_of(ratio), torch.randn(2, 5, 2, dtype=torch.float64)


# ---- the algebra


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
@pytest.mark.parametrize("sigma_data", [1.0, 0.5])
def test_f_is_cos_x_minus_sin_F_at_the_angle_of_the_same_noise(sigma_data, schedule, predicts):
    model, t, (x, _) = smooth(schedule, predicts, sigma_data)
    p, theta = model(x, t), angle(model, t)
    cos, sin = like(theta.cos(), x), like(theta.sin(), x)
    torch.testing.assert_close(sigma_data * theta.tan(), ratio_of(schedule, t))
    inside = cos * p.x0 / sigma_data + sin * p.eps  # TrigFlow's x_t / sigma_data
    torch.testing.assert_close(sigma_data * (cos * inside - sin * flow(model, *p, t)), p.x0)
    if isinstance(schedule, Cosine) and predicts == "v" and sigma_data == 1:
        torch.testing.assert_close(flow(model, *p, t), model.raw(x, t))


@pytest.mark.parametrize(("schedule", "predicts"), MODELS, **named)
@pytest.mark.parametrize("sigma_data", [1.0, 0.5])
def test_the_tangent_is_cos_times_the_derivative_of_f_along_the_path(sigma_data, schedule, predicts):
    """At r = 1, by central differences in TrigFlow's own time, where the paper writes it."""
    model, t, path = smooth(schedule, predicts, sigma_data)
    F, theta = flow(model, *model(schedule.mix(*path, t), t), t), angle(model, t)
    h = 1e-6 * theta.sin() * theta.cos()

    def f(theta):
        u = schedule.time_of(sigma_data * theta.tan())
        return model(schedule.mix(*path, u), u).x0

    slope = (f(theta + h) - f(theta - h)) / (2 * h)[:, None]
    g = SCT().tangent(model, F, tuple(path), t, None, 1.0)
    torch.testing.assert_close(g, like(theta.cos(), g) * slope / sigma_data, rtol=1e-5, atol=1e-6)


# ---- derivatives


@pytest.mark.parametrize(("schedule", "predicts"), MODELS, **named)
def test_the_derivative_is_that_of_central_differences(schedule, predicts):
    model, t, path = smooth(schedule, predicts, time_input="timestep")
    exact, near, nearer = (
        SCT(differences=h).derivative(model, tuple(path), t, None) for h in (0.0, 1e-4, 1e-5)
    )
    torch.testing.assert_close(nearer, exact, rtol=1e-5, atol=1e-5)
    if not isinstance(schedule, DDPM):  # a table's schedule has corners
        assert (near - exact).abs().max() > 20 * (
            nearer - exact
        ).abs().max()  # the error falls with the square


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp((3,), width=16, depth=1),
        lambda: unet((1, 8, 8), channels=(8, 16), layers=1, attention=(8,)),
    ],
    ids=["mlp", "unet"],
)
def test_the_forward_derivative_of_our_networks(make):
    """In float64, the time's embedding too; against the other way of torch to one."""
    torch.manual_seed(0)
    net = make().double()
    nn.init.normal_(list(net.parameters())[-2])
    x, dx = torch.randn(2, 4, *((3,) if net.folder == "mlp" else (1, 8, 8)), dtype=torch.float64)
    t, dt = 1000 * torch.rand(2, 4, dtype=torch.float64)
    value, derivative = jvp(lambda x: net(x, t), (x,), (dx,))
    with torch.no_grad():
        torch.testing.assert_close(value, net(x, t))
        central = (net(x + 1e-6 * dx, t) - net(x - 1e-6 * dx, t)) / 2e-6
    torch.testing.assert_close(derivative, central, rtol=1e-5, atol=1e-6)
    both = jvp(lambda x, t: net(x, t), (x, t), (dx, dt))[1]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        torch.testing.assert_close(both, torch.func.jvp(lambda x, t: net(x, t), (x, t), (dx, dt))[1])
    assert not both.requires_grad


def test_differences_stay_inside_the_schedule():
    model, _, path = smooth(Karras(), "edm", time_input="edm")
    t = torch.full((5,), 80.0, dtype=torch.float64)
    one_sided, whole = (SCT(differences=h).derivative(model, tuple(path), t, None) for h in (1e-5, 0.0))
    torch.testing.assert_close(one_sided, whole, rtol=1e-3, atol=1e-4)


# ---- the truth


@pytest.mark.parametrize("differences", [0.0, 1e-3])
@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
def test_along_the_teachers_trajectory_the_exact_function_has_no_tangent(schedule, differences):
    student, method = exact(schedule), SCD(differences=differences)
    nets = {"student": student, "teacher": gaussian(schedule), **method.trainable_networks(student, None)}
    loss, logs = method.loss(("student", "weighting"), nets, batch_of(data(512)), WARM)
    loss.backward()
    assert logs["tangent"] < (1e-6 if differences else 1e-12)
    assert loss < 1e-9 and student.net.tilt.grad.abs() < (1e-5 if differences else 1e-9)


@pytest.mark.parametrize("method", [SCT(), SCD(), SCT(differences=0.01)], ids=["sct", "scd", "differences"])
def test_the_gradient_vanishes_at_the_truth_and_points_back_to_it(method):
    """Of sCT too, though its tangent is divided by its own norm: a Gaussian's is as often up as down."""
    slopes = {}
    for tilt in (-0.1, 0.0, 0.1):
        found = []
        for seed in range(8):
            student = exact(Cosine())
            student.net.tilt.data.fill_(tilt)
            nets = {
                "student": student,
                "teacher": gaussian(Cosine()),
                **method.trainable_networks(student, None),
            }
            loss, _ = method.loss(
                ("student", "weighting"), nets, batch_of(data(1 << 14, seed), seed + 100), WARM
            )
            found.append(torch.autograd.grad(loss, student.net.tilt)[0])
        found = torch.stack(found)
        slopes[tilt] = found.mean(), found.std() / 8**0.5
    (down, at), (truth, error), (up, around) = slopes.values()
    assert down < -5 * at and up > 5 * around
    assert truth.abs() < 3 * error + 1e-9


@pytest.mark.parametrize(
    ("schedule", "predicts"), [p for p in PARAMETERISATIONS if p[1] not in ("x0", "eps")], **named
)
@pytest.mark.parametrize("name", ["sct", "scd"])
def test_at_rest_on_one_point(name, schedule, predicts):
    method, student = METHODS[name](), constant(POINT, schedule, predicts)
    nets = {
        "student": student,
        "teacher": constant(POINT, schedule, predicts),
        **method.trainable_networks(student, None),
    }
    for progress in (MIDDLE, WARM):
        loss, logs = method.loss(("student", "weighting"), nets, batch_of(POINT.repeat(256, 1)), progress)
        loss.backward()
        assert loss.abs() < 1e-9 and logs["tangent"] < 1e-9
        assert student.net.point.grad.abs().max() < 1e-6


# ---- its parts


def test_the_second_half_of_the_tangent_warms_up_with_images():
    model, t, path = smooth(Cosine(), "v")
    method, seen = SCT(warmup=1000), []
    tangent = method.tangent
    method.tangent = lambda *a: seen.append(a[-1]) or tangent(*a)
    nets = {"student": model, **method.trainable_networks(model, None)}
    for images in (0, 250, 1000, 5000):
        method.loss(("student", "weighting"), nets, batch_of(path[0]), Progress(0, 1, images))
    assert seen == [0.0, 0.25, 1.0, 1.0]
    F = flow(model, *model(Cosine().mix(*path, t), t), t)
    none, half, whole = (tangent(model, F, tuple(path), t, None, r) for r in (0.0, 0.5, 1.0))
    torch.testing.assert_close(none, -like(angle(model, t).cos() ** 2, F) * (F - flow(model, *path, t)))
    torch.testing.assert_close(half, (none + whole) / 2)


def test_the_loss_is_the_papers():
    """e^w / D |F - F- - g / (|g| + c)|^2 - w, whose value is known: F is F-."""
    model, _, path = smooth(Cosine(), "v")
    method, kept = SCT(), []
    tangent = method.tangent
    method.tangent = lambda *a: kept.append((a, tangent(*a))) or kept[-1][1]
    nets = {"student": model, **method.trainable_networks(model, None)}
    nn.init.normal_(nets["weighting"].series.weight, std=0.3)
    loss, _ = method.loss(("student", "weighting"), nets, batch_of(path[0]), WARM)
    (((_, F, _, t, _, _), g),) = kept
    norm, w = g.norm(dim=1), nets["weighting"](angle(model, t))
    torch.testing.assert_close(loss, (w.exp() / 2 * (norm / (norm + 0.1)) ** 2 - w).mean())
    direction = g / (norm + 0.1)[:, None]
    grads = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    wanted = torch.autograd.grad(
        -(like(w.exp().detach(), F) * F * direction).sum() / 5, list(model.parameters())
    )
    torch.testing.assert_close(grads, wanted)


def test_the_weighting_learns_the_logarithm_of_the_loss():
    torch.manual_seed(0)
    weighting, theta = Weighting(), math.pi / 2 * torch.rand(4096, dtype=torch.float64)
    assert torch.equal(weighting(theta), torch.zeros(4096))
    error, optimizer = 0.1 + theta**2, torch.optim.Adam(weighting.parameters(), 0.03)
    for _ in range(600):
        optimizer.zero_grad()
        w = weighting(theta)
        (w.exp() * error - w).mean().backward()
        optimizer.step()
    assert (weighting(theta) + error.log()).abs().mean() < 0.02


@pytest.mark.parametrize("method", [SCT(), SCT(differences=0.01)], ids=["exact", "differences"])
def test_all_passes_share_their_dropout_mask(method):
    torch.manual_seed(0)
    student = Denoiser(Dropping(), Cosine(), "v", (2,), time_input="time").train()
    before = torch.random.get_rng_state()
    nets = {"student": student, **method.trainable_networks(student, None)}
    method.loss(("student", "weighting"), nets, batch_of(torch.randn(64, 2, dtype=torch.float64)), MIDDLE)
    masks = student.net.seen
    assert len(masks) == (3 if method.differences else 2) and all(
        torch.equal(mask, masks[0]) for mask in masks
    )
    assert not torch.equal(torch.random.get_rng_state(), before)


def test_what_it_says_of_itself():
    assert METHODS["scm"] is METHODS["sct"] is SCT and SCD.needs_teacher and not SCT.needs_teacher
    assert (SCT().teacher_nfe(), SCD().teacher_nfe()) == (0, 1)
    assert SCT().turns(MIDDLE) == (("student", "weighting"),)
    for settings in ({"warmup": -1}, {"differences": -0.1}):
        with pytest.raises(FastdiffError, match=next(iter(settings))):
            SCT(**settings)
    with pytest.raises(FastdiffError, match="choose v, velocity or edm"):
        SCT().trainable_networks(Denoiser(mlp((2,)), Cosine(), "eps", (2,)), None)


# ---- learning: 300 steps on the toy mixture


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Denoisers that read their time as the paper has it, and in a thousand ticks,
    through waves as fast as one a tick."""
    return {clock: denoiser(tmp_path_factory.mktemp(clock), clock) for clock in ("time", "timestep")}


@pytest.mark.long
@pytest.mark.parametrize(
    ("clock", "method", "share"),
    [
        ("time", SCT(warmup=20_000), 0.15),
        ("time", SCD(warmup=20_000), 0.1),
        ("timestep", SCT(warmup=20_000, differences=0.1), 0.2),
        ("timestep", SCD(warmup=20_000, differences=0.1), 0.2),
    ],
    ids=["sct", "scd", "sct-differences", "scd-differences"],
)
def test_it_learns(clock, method, share, starts, tmp_path):
    oracle = GaussianMixture(*(v.float() for v in mixture()), Cosine()) if method.needs_teacher else None
    student = trained(method, starts[clock], oracle, tmp_path)
    before, one, two = energy(starts[clock], 1, "consistency"), energy(student, 1), energy(student, 2)
    assert one < share * before and two < one
