"""Adversaries against closed forms; whom each of their terms reaches; and the toy, where collapse is measured."""

from copy import deepcopy
from math import log
from statistics import NormalDist

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import fastdiff
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.core.validation import call
from fastdiff.data.registry import batch_at
from fastdiff.data.toys import digits, mixture, toy
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import Uniform
from fastdiff.methods.ctm import CTM
from fastdiff.methods.diagnostics import coverage, spread
from fastdiff.methods.discriminator_features import VGG16, Classifier, Teachers
from fastdiff.methods.dmd2 import DMD2
from fastdiff.methods.gan import GAN
from fastdiff.methods.lcm import PCM, noised
from fastdiff.methods.progressive import Progressive, Stochastic, implied, led
from fastdiff.networks import MLP, dit, mlp, unet
from fastdiff.networks.discriminator import Critic, Discriminator, critic_on, middle, tapped
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import sample
from fastdiff.training.loop import TrainConfig, Training
from fastdiff.training.roles import only, roles_of
from tests.helpers import tiny_pipelines
from tests.methods.test_consistency import energy, trained
from tests.methods.test_methods import (
    MIDDLE,
    PARAMETERISATIONS,
    POINT,
    START,
    batch_of,
    constant,
    named,
    told,
)

EVERY = pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
ALL = ("first", "blocks.0", "blocks.1", "blocks.2")  # of an MLP
SEEN = Adversary(weight=0.5, features=("first", "blocks.0"), hidden=16)
LOSSES = ("softplus", "minimax", "hinge")


# ---- against closed forms: the data are N(1, 1), the samples N(a, 1), and the critic is right

A = 0.3
QUANTILES = torch.special.ndtri((torch.arange(20_000).double() + 0.5) / 20_000)


def right(x, a=A):
    """ln of the data's density by that of the samples."""
    return (1 - a) * x - (1 - a**2) / 2


def divergences(a):
    """Kullback-Leibler of the samples by the data, and Jensen-Shannon, by sums over a fine grid."""
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    p, q = (torch.distributions.Normal(torch.tensor(mean).double(), 1).log_prob(x) for mean in (1.0, a))
    mean = torch.logaddexp(p, q) - log(2)
    kl, js = q.exp() * (q - p), (p.exp() * (p - mean) + q.exp() * (q - mean)) / 2
    return torch.trapezoid(kl, x), torch.trapezoid(js, x)


@pytest.mark.parametrize(
    ("loss", "falls"),
    [
        ("minimax", lambda kl, js: 2 * js),  # Goodfellow et al. 2014, theorem 1
        ("softplus", lambda kl, js: kl - 2 * js),  # Arjovsky & Bottou 2017, theorem 2.5
        ("hinge", lambda kl, js: kl),
    ],
)
def test_the_students_gradient_is_that_of_a_divergence(loss, falls):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    value = Adversary(weight=1, loss=loss).fooling(right(a + QUANTILES)[:, None])
    (found,) = torch.autograd.grad(value, a)
    h = 1e-4
    wanted = (falls(*divergences(A + h)) - falls(*divergences(A - h))) / (2 * h)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_students_gradient_by_logits(loss):
    logits = torch.linspace(-30, 30, 13, requires_grad=True)
    (found,) = torch.autograd.grad(Adversary(loss=loss).fooling(logits), logits)
    wanted = {"softplus": -(-logits).sigmoid(), "minimax": -logits.sigmoid(), "hinge": -torch.ones(13)}[
        loss
    ] / 13
    torch.testing.assert_close(found, wanted.detach())


class Linear(nn.Module):
    """scale times a straight line of one number."""

    def __init__(self, scale=1.0, line=right):
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.tensor(v).double()) for v in (scale, 0.0))
        self.line = line

    def forward(self, features):
        return self.scale * self.line(features[0].flatten(1)) + self.shift


@pytest.mark.parametrize("loss", ["softplus", "minimax"])
def test_the_critic_that_is_right_has_no_gradient_and_others_point_back(loss):
    """Its loss is ln 4 - 2 Jensen-Shannon."""
    real, made, slopes = [(1 + QUANTILES)[:, None]], [(A + QUANTILES)[:, None]], []
    for scale in (1.0, 1.2, 0.8):
        critic = Linear(scale)
        value, logs = Adversary(loss=loss).telling(critic, real, made)
        slopes.append(torch.autograd.grad(value, list(critic.parameters())))
        assert (
            logs["critic_real"]
            == logs["critic_fake"]
            == pytest.approx(NormalDist().cdf((1 - A) / 2), abs=1e-3)
        )
        if scale == 1:
            assert value.item() == pytest.approx(log(4) - 2 * divergences(A)[1].item(), abs=1e-4)
    assert all(abs(slope) < 1e-4 for slope in slopes[0])
    assert slopes[1][0] > 0.005 and slopes[2][0] < -0.005


def test_the_hinge_asks_for_a_margin_of_one():
    logits = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0])
    critic, features = Linear(1.0, lambda x: x), logits[:, None].double()
    value, _ = Adversary(loss="hinge").telling(critic, [features], [features])
    torch.testing.assert_close(value.double(), (torch.tensor([3, 1.5, 1, 0.5, 0]).mean() * 2).double())


def test_the_penalty_of_a_straight_critic_is_its_slope():
    """Half of r1 |w|^2, by the samples that are real alone, over all features and their places."""

    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.v = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(1, 4))

        def forward(self, features):
            return (self.w * features[0]).sum((1, 2))[:, None] + (self.v * features[1]).sum((1, 2))[:, None]

    critic, features = Straight(), lambda: [torch.randn(8, 3, 5), torch.randn(8, 1, 4)]
    (real, made), norm = (features(), features()), critic.w.square().sum() + critic.v.square().sum()
    (free, _), (bound, logs) = (Adversary(r1=r1).telling(critic, real, made) for r1 in (0.0, 3.0))
    torch.testing.assert_close(logs["r1"], norm)
    torch.testing.assert_close(bound - free, 1.5 * norm)
    (slope,) = torch.autograd.grad(bound - free, critic.w)
    torch.testing.assert_close(slope, 3 * critic.w, rtol=1e-3, atol=1e-3)


# ---- whom a term reaches


def alive(net):
    """With every weight drawn."""
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net


def points(seed=0, **options):
    torch.manual_seed(seed)
    return Denoiser(alive(MLP(2, 16, 2, **options)), Cosine(), "v", (2,))


JUDGED = {
    "gan": GAN(gan=Adversary(weight=0.5, r1=0.1, hidden=16)),
    "ladd": LADD(gan=SEEN),
    "add": ADD(gan=SEEN),
    "ctm": CTM(points=3, gan=SEEN),
    "progressive": Progressive(steps=2, gan=SEEN),
    "stochastic": Stochastic(steps=2, gan=SEEN),
    "pcm": PCM(weights=(1.0, 1.0), gan=SEEN),
}
JUDGES = pytest.mark.parametrize("method", JUDGED.values(), ids=JUDGED)


def networks(method):
    """Everything a turn of a method sees, by role; and what of it learns."""
    teacher = points(1).requires_grad_(False)
    student = method.student(points())
    learn = {"student": student, **method.extras(student, teacher)}
    targets = {role: deepcopy(student).requires_grad_(False) for role in method.averages()}
    return learn | targets | method.frozen(student, teacher) | {"teacher": teacher}, learn


@JUDGES
def test_a_turn_teaches_its_own_role_alone(method):
    nets, learn = networks(method)
    roles, batch = roles_of(learn, TrainConfig()), batch_at(toy(n=64), 0, 32, 0)
    assert method.turns(MIDDLE) == (("critic",), ("student",)) and set(learn) == {"student", "critic"}
    for turn in method.turns(MIDDLE):
        with only(roles, turn):
            loss, logs = method.loss(turn, nets, batch, MIDDLE)
            loss.backward()
        assert all(torch.isfinite(v) for v in (loss, *logs.values()))
        for role, net in nets.items():
            assert all(p.grad is None for p in net.parameters()) == (role not in turn), (turn, role)
        for p in roles[turn[0]].weights:
            p.grad = None
        assert {"critic_real", "critic_fake"} <= set(logs) if "critic" in turn else {"gan"} <= set(logs)
    shares = [value for name, value in logs.items() if name.endswith("_share")]
    assert not shares or sum(shares) == pytest.approx(1) and all(share > 0 for share in shares)


@pytest.mark.parametrize("method", [CTM(), Progressive(), Stochastic(), PCM(weights=(1.0, 1.0))], **named)
def test_no_weight_is_no_critic(method):
    assert set(networks(method)[1]) == {"student"} and method.turns(MIDDLE) == (("student",),)


@JUDGES
def test_the_term_grows_with_its_weight_and_the_rest_stays(method):
    nets, _ = networks(method)
    found = []
    for weight in (0.5, 1.5):
        heavier = type(method)(**vars(method) | {"gan": method.gan.model_copy(update={"weight": weight})})
        found.append(heavier.loss(("student",), nets, batch_at(toy(n=64), 0, 32, 0), MIDDLE))
    (one, low), (three, high) = found
    torch.testing.assert_close(high["gan"], 3 * low["gan"])
    torch.testing.assert_close((three - one).float(), 2 * low["gan"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
def test_on_one_point_the_teacher_has_nothing_to_say(schedule, predicts):
    """And the critic, which sees the same in data and samples, is at chance."""
    method = ADD(gan=Adversary(weight=1.0, features=("",)))  # of a network of no parts: what it puts out
    student, teacher = (constant(POINT, schedule, predicts) for _ in range(2))
    critic = method.extras(student.float(), teacher.float())["critic"]
    nets = {"student": student, "teacher": teacher, "critic": critic}
    for turn in (("critic",), ("student",)):
        loss, logs = method.loss(turn, nets, batch_of(POINT.repeat(64, 1).float()), MIDDLE)
    assert logs["distill"] < 1e-9 and logs["distill_share"] < 1e-4 and logs["spread"] < 1e-4


def test_the_critic_of_trajectories_comes_late():
    method = CTM(gan=SEEN, gan_start=0.5)
    assert method.turns(START) == method.turns(Progress(49, 100, 0)) == (("student",),)
    assert method.turns(Progress(50, 100, 0)) == (("critic",), ("student",))
    assert "gan" not in method.loss(("student",), networks(method)[0], batch_at(toy(n=64), 0, 8, 0), START)[1]
    assert CTM(gan=SEEN, gan_start=1.0).teacher_nfe() == CTM().teacher_nfe() == 18
    assert CTM(gan=SEEN, gan_start=0.0).teacher_nfe() == 10.5


@pytest.mark.parametrize("kind", [GAN, LADD, ADD])
def test_so_many_turns_of_the_critic_a_turn_of_the_student(kind):
    method = kind(critic_turns=3)
    turns = [method.turns(Progress(step, 9, 0)) for step in range(6)]
    assert turns == [(("critic",),), (("critic",),), (("critic",), ("student",))] * 2 and method.cycle == 3


# ---- what is shown


@EVERY
def test_the_student_starts_as_the_sampler_does_and_at_its_times_alone(schedule):
    """At the first time it is shown noise alone, though the data be far away; elsewhere the data, noised."""
    student, x0 = told(lambda x, t, s: 0 * x, schedule, "x0"), torch.full((400, 2), 1e6)
    _, kind, drawn = LADD(steps=(1, 2, 4)).made(student, batch_of(x0))
    ((x, t, s, _),) = student.net.asked
    grid = time_grid(schedule, 4, "uniform")[:-1]
    assert (s == 0).all() and set(t.tolist()) <= set(grid.float().tolist()) and len(set(t.tolist())) == 4
    assert torch.equal(grid.flip(0).float()[kind], t) and torch.equal(drawn, t == grid[0].float())
    assert 0.3 < drawn.float().mean() < 0.55
    assert (
        abs(x[drawn].std() - schedule.alpha_sigma(grid[0])[1]) < 0.15 * x[drawn].std()
        and (x[~drawn] > 1e5).all()
    )


def test_data_and_samples_are_shown_at_one_level_with_noise_of_their_own():
    teacher, x = told(lambda x, t, s: 0 * x, Flow(), "x0"), torch.zeros(64, 2)
    method = LADD(gan=Adversary(weight=1.0, features=("",)))
    real, made = method.seen({"teacher": teacher}, batch_of(x), x, x)
    ((y, t, _, _),) = teacher.net.asked
    assert torch.equal(t[:64], t[64:]) and t.std() > 0.1 and not torch.equal(y[:64], y[64:])
    assert torch.equal(
        torch.cat([real[0], made[0]])[:, 0], teacher.net.model.target(0 * y, y / t[:, None], t)
    )
    teacher.net.asked.clear()
    Teachers(0.05).seen(method.gan, {"teacher": teacher}, batch_of(x), x)
    assert torch.equal(teacher.net.asked[0][1], torch.full((64,), 0.05))


@EVERY
def test_a_jump_is_judged_by_where_it_ends_and_where_it_began(schedule):
    """At the ends that the teacher's steps have; a teacher is never asked at t = 0."""
    teacher = told(lambda x, t, s: 0 * x, schedule, "x0")
    x, x0, t, s = (
        torch.randn(3, 2),
        torch.randn(3, 2),
        torch.full((3,), schedule.t_max),
        torch.tensor([0.0, 0.3, 0.5]),
    )
    s = (s * schedule.t_max).double()
    t = t.double()
    (features,) = Progressive(gan=Adversary(weight=1.0, features=("",))).seen(teacher, None, x, t, s, x0)
    ((y, at, _, _),) = teacher.net.asked
    assert features[0].shape == (3, 1, 4) and torch.equal(y[3:], x) and torch.equal(at[3:], t.float())
    assert (at[:3] > 0).all() and torch.equal(at[1:3], s[1:].float())
    torch.testing.assert_close(y[0], x0[0])
    torch.testing.assert_close(implied(schedule, x, t, y[:3], s), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(led(schedule, x, t, x0, s), y[:3])


@EVERY
def test_noise_within_a_phase_adds_up(schedule):
    x0, eps = torch.tensor([[2.0]]).double(), torch.randn(100_000, 1).double()
    u, t = (torch.tensor(share * schedule.t_max, dtype=torch.float64) for share in (0.4, 0.2))
    found = noised(schedule, schedule.mix(x0, eps, t), t, u, torch.randn(100_000, 1).double())
    alpha, sigma = schedule.alpha_sigma(u)
    assert abs(found.mean() - 2 * alpha) < 0.02 * (1 + sigma) and abs(found.std() / sigma - 1) < 0.01
    torch.testing.assert_close(noised(schedule, eps, t, t, 1 / eps), eps)


# ---- features by the names of modules


@pytest.mark.parametrize(
    ("net", "shape", "names", "widths"),
    [
        (mlp((2,), width=16), (2,), ("first", "blocks.1"), [16, 16]),
        (
            unet((1, 8, 8), channels=(8, 16), layers=1),
            (1, 8, 8),
            ("module.down_blocks.0", "module.mid_block"),
            [8, 16],
        ),
        (
            dit((1, 8, 8), width=32, depth=2, heads=4),
            (1, 8, 8),
            ("module.transformer_blocks.0", "module.transformer_blocks.1"),
            [32, 32],
        ),
    ],
    ids=["mlp", "unet", "dit"],
)
def test_a_critic_takes_modules_by_their_names(net, shape, names, widths):
    model = Denoiser(net, Cosine(), "v", shape)
    critic, x = critic_on(model, names, 8), torch.randn(3, *shape, requires_grad=True)
    t = torch.full((3,), 0.3, dtype=torch.float64)
    (features,) = Adversary(features=names).seen(model, [x], [t], None)
    assert (
        [feature.shape[-1] for feature in features]
        == widths
        == [head[0].normalized_shape[0] for head in critic.heads]
    )
    logits = critic(features)
    logits.sum().backward()
    assert logits.shape == (3, 2) and x.grad.abs().max() > 0
    assert critic_on(model, (), 8)(Adversary().seen(model, [x], [t], None)[0]).shape == (
        3,
        1,
    )  # the middle one
    with pytest.raises(
        FastdiffError, match=f"'nowhere' is no module of {type(net).__name__}: choose from"
    ) as caught:
        critic_on(model, ("nowhere",), 8)
    assert "\n" not in str(caught.value) and not net._forward_hooks


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_critic_takes_the_image_of_two_streams(kind, tmp_path):
    """The middle block of SD3 and Flux puts out text and image."""
    tiny_pipelines.alive(getattr(tiny_pipelines, kind)(tmp_path / "parts")).save_pretrained(
        tmp_path / "pipeline"
    )
    model = fastdiff.load(tmp_path / "pipeline")
    shape, t = (4, 8, 8), torch.full((2,), 0.5, dtype=torch.float64)
    seen = []
    for x in (torch.zeros(2, *shape), torch.randn(2, *shape)):
        with tapped(model) as found, torch.no_grad():
            model(x, t, t, None)
        seen += found
    assert middle(model.net) == "module.transformer_blocks.0"
    assert seen[0].shape == (2, 16, 16) and (seen[0] - seen[1]).abs().max() > 1e-3
    assert critic_on(model, (), 8)(found).shape == (2, 1)


def test_samples_are_judged_among_their_own_kind():
    """Together two kinds could be like the data, and neither of them so."""
    critic, feature, kind = Critic([4], 8, kinds=3), torch.randn(6, 5, 4), torch.tensor([0, 2, 1, 1, 0, 2])
    every = torch.stack([critic([feature], torch.full((6,), k)) for k in range(3)])
    assert torch.equal(critic([feature], kind), every[kind, torch.arange(6)]) and (every[0] != every[1]).all()
    assert LADD(steps=(1, 2, 4), gan=SEEN).extras(points(), points())["critic"].heads[0][-1].out_features == 4


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 32, 20), (2, 5, 1)], ids=str)
def test_a_critic_with_a_trunk_of_its_own_sees_samples_and_classes(shape):
    torch.manual_seed(0)
    critic, x = Discriminator(shape, 3, hidden=16), torch.randn(4, *shape, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    logits = critic([x], {"label": labels})
    assert logits.shape == (4, 1) and not torch.allclose(logits, critic([x], {"label": 0 * labels}))
    logits.sum().backward()
    assert (x.grad.flatten(1) != 0).all()  # every pixel counts
    assert Discriminator(shape, hidden=16)([x]).shape == (4, 1)


def test_settings_that_are_not_given_are_the_methods_own():
    names = ("dmd2", "sida", "ladd", "add", "gan")
    made = {name: call(METHODS, name, {"gan": {"hidden": 64}}, "method").gan for name in names}
    assert all(gan == METHODS[name]().gan.model_copy(update={"hidden": 64}) for name, gan in made.items())
    assert made["dmd2"].weight == 3e-3 and made["add"].loss == "hinge" and made["gan"].r1 == 0.1


def test_a_critic_with_a_trunk_does_without_labels():
    x = torch.randn(4, 2)
    assert Discriminator((2,), classes=3, hidden=16)([x]).shape == (4, 1)


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN(gan=Adversary()), "gan: its critic is all that this method learns from"),
        (lambda: GAN(gan=SEEN), "no features of a network"),
        (lambda: GAN(critic_turns=0), "critic_turns = 0"),
        (lambda: LADD(critic_turns=0), "critic_turns = 0"),
        (lambda: LADD(gan=Adversary()), "gan: the critic is what this method learns from"),
        (lambda: LADD(steps=()), r"steps = \[\]"),
        (lambda: ADD(distill=-1.0), "distill = -1"),
        (lambda: Teachers(0.0), "level = 0.0"),
        (lambda: CTM(gan_start=2.0), "gan_start = 2"),
        (
            lambda: call(METHODS, "gan", {"gan": {"weight": 1, "loss": "wgan"}}, "method"),
            "method.gan.loss: input should be",
        ),
        (
            lambda: call(METHODS, "add", {"features_of": "dino"}, "method"),
            "method.features_of: 'dino' is unknown, choose from",
        ),
        (lambda: Discriminator((2, 16, 16, 16)), "is for vectors .* have shape"),
        (
            lambda: ADD(gan=SEEN, features_of=VGG16()).extras(points(), points()),
            "features_of is another network: leave them",
        ),
        (
            lambda: ADD(features_of=VGG16()).extras(points(), points()),
            "1 or 3 channels, the samples have .* choose teacher",
        ),
        (lambda: Classifier("/nowhere").open("cpu"), "expected a folder with model.safetensors"),
        (
            lambda: ADD(features_of=Classifier("checkpoints/digits/features")).extras(points(), points()),
            "pictures of 8 x 8",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- pictures


def pictures():
    torch.manual_seed(1)
    return Denoiser(unet((1, 8, 8), 10, channels=(8, 16), layers=1), Cosine(), "v", (1, 8, 8)).eval()


DOWN = Adversary(weight=1.0, features=("module.down_blocks.0", "module.mid_block"), r1=1e-3)


@pytest.mark.parametrize(
    "method",
    [
        GAN(),
        LADD(gan=DOWN),
        ADD(gan=DOWN),
        ADD(guidance=2.0, features_of=Classifier("checkpoints/digits/features")),
        CTM(points=3, gan=DOWN, gan_start=0.5),
        Progressive(steps=2, gan=DOWN),
        PCM(gan=DOWN),
    ],
    ids=["gan", "ladd", "add", "classifier", "ctm", "progressive", "pcm"],
)
def test_pictures_with_classes(method, tmp_path):
    begun = method.student(pictures())
    config = TrainConfig(steps=3, batch=64, log_every=1, **method.training)
    training = Training(
        method,
        Progress,
        begun,
        pictures() if method.teaches else None,
        digits(),
        config,
        tmp_path,
        Accelerator(cpu=True),
    )
    begun.sampling = method.sampling()
    logs = [logs for _, logs in training]
    assert all(value is not None for line in logs for value in line.values()), logs
    assert {"critic/critic_real", "critic/critic_fake", "gan"} <= set(logs[-1])
    assert {"coverage", "spread"} <= set(logs[-1]) or isinstance(method, CTM | Progressive | PCM)
    assert sample(training.result(), steps=begun.sampling.steps[0], n=2, labels=[1, 2]).shape == (2, 1, 8, 8)


def test_the_features_of_vgg16_are_frozen_and_let_gradients_through(vgg16):  # noqa: F811
    features = VGG16(str(vgg16), size=32)
    method, model = ADD(features_of=features), pictures()
    nets = {"student": model, "teacher": model, **method.extras(model, model), **method.frozen(model, model)}
    assert not any(p.requires_grad for p in nets["features"].parameters()) and not nets["features"].training
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    real, made = method.seen(nets, batch_of(torch.zeros(2, 1, 8, 8)), x, -x)
    assert [feature.shape[1:] for feature in real] == [(1024, 64), (256, 128), (64, 256), (16, 512), (4, 512)]
    nets["critic"](made).sum().backward()
    assert x.grad.abs().max() > 0 and nets["critic"](real).shape == (2, 5)


def test_what_the_teacher_is_asked():
    """Evaluations an image, the critic's turn and its own together."""
    known = {"gan": 0, "ladd": 1.5, "add": 2.0, "progressive": 4.5, "stochastic": 4.5, "pcm": 2.5}
    assert {name: method.teacher_nfe() for name, method in JUDGED.items() if name in known} == known
    assert ADD(features_of=VGG16(), guidance=2.0).teacher_nfe() == 1.0
    assert LADD(critic_turns=3).teacher_nfe() == 7 / 4 and ADD(critic_turns=3).teacher_nfe() == 2.0


# ---- learning: the toy mixture

MEANS, _, WEIGHTS = mixture()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A denoiser of the mixture."""
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,))
    return trained(
        METHODS["denoising"](), model, None, tmp_path_factory.mktemp("teacher"), 600, lr=2e-3, decay="cosine"
    )


def shares(model, steps=1):
    """Of the samples, by the nearest mode, over what the mixture has."""
    near = torch.cdist(sample(model, steps=steps, n=2000, seed=3), MEANS).argmin(1)
    return near.bincount(minlength=8) / 2000 / WEIGHTS


def figures(model, steps=1):
    """Coverage of the data, spread, and distance from the data, as the log and the benchmark have them."""
    x, real = sample(model, steps=steps, n=256, seed=4), toy(n=256, seed=5).examples
    return float(coverage(real, x)), float(spread(x)), energy(model, steps)


def generator():
    torch.manual_seed(1)
    return Denoiser(mlp((2,), width=64), Cosine(), "v", (2,))


def test_the_collapse_of_a_plain_gan_is_measured(tmp_path):
    """The original game with Adam's usual momentum falls into one or two modes; with neither it finds all eight."""
    plain = Adversary(weight=1.0, loss="minimax", hidden=64)
    fallen = trained(GAN(gan=plain), generator(), None, tmp_path / "plain", 300, lr=1e-3, betas=(0.9, 0.999))
    sound = trained(
        GAN(gan=Adversary(weight=1.0, r1=0.1, hidden=64)), generator(), None, tmp_path / "sound", 400, lr=3e-3
    )
    (low, narrow, far), (high, wide, near) = figures(fallen), figures(sound)
    print("gan", shares(fallen).tolist(), (low, narrow, far), shares(sound).tolist(), (high, wide, near))
    assert (shares(fallen) > 0.2).sum() <= 3 and (shares(sound) > 0.4).all()
    assert low < 0.15 < 0.3 < high and narrow < 0.25 < 0.45 < wide
    assert far > 0.2 > 0.03 > near


SHARP = Adversary(weight=1.0, features=ALL, r1=0.03)
LOW = Uniform(0.02, 0.6)  # levels of noise that leave the modes apart


@pytest.mark.parametrize(
    "method",
    [LADD(gan=SHARP, times=LOW), ADD(steps=(1, 2), gan=SHARP, features_of=Teachers(0.1), distill=0.1)],
    ids=["ladd", "add"],
)
def test_adversarial_distillation_finds_all_modes(method, teacher, tmp_path):
    """In every number of steps; the teacher's one step finds none."""
    student = trained(method, teacher, teacher, tmp_path, 300, lr=2e-3, decay="cosine")
    found = [(shares(student, k), energy(student, k)) for k in method.steps]
    print(type(method).__name__, energy(teacher, 1), found)
    assert all((share > 0.4).all() and far < 0.03 for share, far in found) and energy(teacher, 1) > 0.3


def test_one_student_of_several_steps_matches_in_each(teacher, tmp_path):
    method = DMD2(steps=(1, 2, 4), fake_turns=2, gan=Adversary())
    student = trained(method, teacher, teacher, tmp_path, 900, lr=2e-3, decay="cosine")
    found = [(shares(student, k), energy(student, k)) for k in method.steps]
    print("dmd2 of several steps", found)
    assert all((share > 0.25).all() and far < 0.03 for share, far in found)


@pytest.mark.parametrize(
    ("method", "least"),
    [
        (CTM(points=9, mu=0.95, gan=SHARP.model_copy(update={"weight": 0.5}), gan_times=LOW), 0.15),
        (Progressive(steps=2, gan=SHARP.model_copy(update={"weight": 0.2})), 0.25),
        (PCM(weights=(1.0, 1.0), phases=2, gan=SHARP.model_copy(update={"weight": 0.1})), 0.5),
    ],
    ids=["ctm", "progressive", "pcm"],
)
def test_what_a_method_learns_it_learns_beside_a_critic(method, least, teacher, tmp_path):
    student, steps = (
        trained(method, teacher, teacher, tmp_path, 150, lr=2e-3, decay="cosine"),
        method.sampling().steps[0],
    )
    found, before = energy(student, steps), energy(teacher, steps)
    print(type(method).__name__, steps, before, found / before)
    assert found < least * before
