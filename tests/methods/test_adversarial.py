"""Adversaries against closed forms, and whom each of their terms reaches."""

from copy import deepcopy
from math import log
from statistics import NormalDist

import pytest
import torch
from torch import nn

from fastdiff.data.registry import batch_at
from fastdiff.data.toys import toy
from fastdiff.methods import Progress
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.ctm import CTM
from fastdiff.methods.gan import GAN
from fastdiff.methods.lcm import PCM
from fastdiff.methods.progressive import Progressive, Stochastic
from fastdiff.training.loop import TrainConfig
from fastdiff.training.roles import freeze_others, roles_of
from tests.helpers.adversaries import JUDGED, SEEN, points
from tests.helpers.oracles import MIDDLE, START, named

LOSSES = ("softplus", "minimax", "hinge")


# ---- against closed forms: the data are N(1, 1), the samples N(a, 1), and the discriminator is right


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
    value = Adversary(weight=1, loss=loss).generator_loss(right(a + QUANTILES)[:, None])
    (found,) = torch.autograd.grad(value, a)
    h = 1e-4
    wanted = (falls(*divergences(A + h)) - falls(*divergences(A - h))) / (2 * h)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_students_gradient_by_logits(loss):
    logits = torch.linspace(-30, 30, 13, requires_grad=True)
    (found,) = torch.autograd.grad(Adversary(loss=loss).generator_loss(logits), logits)
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
        discriminator = Linear(scale)
        value, logs = Adversary(loss=loss).discriminator_loss(discriminator, real, made)
        slopes.append(torch.autograd.grad(value, list(discriminator.parameters())))
        assert (
            logs["discriminator_real"]
            == logs["discriminator_fake"]
            == pytest.approx(NormalDist().cdf((1 - A) / 2), abs=1e-3)
        )
        if scale == 1:
            assert value.item() == pytest.approx(log(4) - 2 * divergences(A)[1].item(), abs=1e-4)
    assert all(abs(slope) < 1e-4 for slope in slopes[0])
    assert slopes[1][0] > 0.005 and slopes[2][0] < -0.005


def test_the_hinge_asks_for_a_margin_of_one():
    logits = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0])
    discriminator, features = Linear(1.0, lambda x: x), logits[:, None].double()
    value, _ = Adversary(loss="hinge").discriminator_loss(discriminator, [features], [features])
    torch.testing.assert_close(value.double(), (torch.tensor([3, 1.5, 1, 0.5, 0]).mean() * 2).double())


def test_the_penalty_of_a_straight_critic_is_its_slope():
    """Half of r1 |w|^2, by the samples that are real alone, over all features and their places."""

    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.v = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(1, 4))

        def forward(self, features):
            return (self.w * features[0]).sum((1, 2))[:, None] + (self.v * features[1]).sum((1, 2))[:, None]

    discriminator, features = Straight(), lambda: [torch.randn(8, 3, 5), torch.randn(8, 1, 4)]
    (real, made), norm = (
        (features(), features()),
        discriminator.w.square().sum() + discriminator.v.square().sum(),
    )
    (free, _), (bound, logs) = (
        Adversary(r1=r1).discriminator_loss(discriminator, real, made) for r1 in (0.0, 3.0)
    )
    torch.testing.assert_close(logs["r1"], norm)
    torch.testing.assert_close(bound - free, 1.5 * norm)
    (slope,) = torch.autograd.grad(bound - free, discriminator.w)
    torch.testing.assert_close(slope, 3 * discriminator.w, rtol=1e-3, atol=1e-3)


class Heads(nn.Module):
    """A straight line for each feature."""

    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(1, 4))

    def forward(self, features):
        return torch.stack([(w * f).sum((1, 2)) for w, f in zip((self.w, self.v), features)], 1)


@pytest.mark.parametrize("learned", [False, True])
def test_the_penalty_of_several_heads_is_the_mean_of_theirs_as_the_loss_is(learned):
    """Each by its own feature alone, even if a later feature is made of an earlier one that learns too."""
    discriminator, first = Heads(), torch.randn(8, 3, 5, requires_grad=learned)
    real, fake = (
        [first, first[:, :1, :4].sin() if learned else torch.randn(8, 1, 4)],
        [
            torch.randn(8, 3, 5),
            torch.randn(8, 1, 4),
        ],
    )
    _, logs = Adversary(r1=1.0).discriminator_loss(discriminator, real, fake)
    norms = [weight.square().sum() for weight in (discriminator.w, discriminator.v)]
    torch.testing.assert_close(logs["r1"], sum(norms) / 2)


def test_the_area_under_the_roc_is_in_the_log():
    """Over every pair of a real and a generated sample, by the mean of the heads; ties count one half."""
    real, fake = torch.tensor([[0.0, 2.0], [5.0, 5.0]]), torch.tensor([[1.0, 1.0], [9.0, -9.0]])
    _, logs = Adversary().discriminator_loss(lambda features: features[0], [real], [fake])
    assert float(logs["discriminator_auc"]) == (0.5 + 1 + 1 + 1) / 4


# ---- whom a term reaches


JUDGES = pytest.mark.parametrize("method", JUDGED.values(), ids=JUDGED)


def networks(method):
    """Everything a turn of a method sees, by role; and what of it learns."""
    teacher = points(1).requires_grad_(False)
    student = method.student(points())
    learn = {"student": student, **method.trainable_networks(student, teacher)}
    targets = {role: deepcopy(student).requires_grad_(False) for role in method.target_emas()}
    return learn | targets | method.frozen_networks(student, teacher) | {"teacher": teacher}, learn


@JUDGES
def test_a_turn_teaches_its_own_role_alone(method):
    nets, learn = networks(method)
    roles, batch = roles_of(learn, TrainConfig()), batch_at(toy(n=64), 0, 32, 0)
    assert method.turns(MIDDLE) == (("discriminator",), ("student",)) and set(learn) == {
        "student",
        "discriminator",
    }
    for turn in method.turns(MIDDLE):
        with freeze_others(roles, turn):
            loss, logs = method.loss(turn, nets, batch, MIDDLE)
            loss.backward()
        assert all(torch.isfinite(v) for v in (loss, *logs.values()))
        for role, net in nets.items():
            assert all(p.grad is None for p in net.parameters()) == (role not in turn), (turn, role)
        for p in roles[turn[0]].weights:
            p.grad = None
        assert (
            {"discriminator_real", "discriminator_fake"} <= set(logs)
            if "discriminator" in turn
            else {"gan"} <= set(logs)
        )
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


def test_the_critic_of_trajectories_comes_late():
    method = CTM(gan=SEEN, gan_start=0.5)
    assert method.turns(START) == method.turns(Progress(49, 100, 0)) == (("student",),)
    assert method.turns(Progress(50, 100, 0)) == (("discriminator",), ("student",))
    assert "gan" not in method.loss(("student",), networks(method)[0], batch_at(toy(n=64), 0, 8, 0), START)[1]
    assert CTM(gan=SEEN, gan_start=1.0).teacher_nfe() == CTM().teacher_nfe() == 18
    assert CTM(gan=SEEN, gan_start=0.0).teacher_nfe() == 10.5


@pytest.mark.parametrize("kind", [GAN, LADD, ADD])
def test_so_many_turns_of_the_critic_a_turn_of_the_student(kind):
    method = kind(discriminator_turns=3)
    turns = [method.turns(Progress(step, 9, 0)) for step in range(6)]
    assert (
        turns == [(("discriminator",),), (("discriminator",),), (("discriminator",), ("student",))] * 2
        and method.cycle == 3
    )
