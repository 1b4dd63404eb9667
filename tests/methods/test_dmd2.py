"""Matching by a divergence (Diff-Instruct, DMD2, f-distill) against its gradient in closed form."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import VP, Cosine, Flow, Karras
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import LogNormal, Uniform
from fastdiff.methods.dmd2 import DIVERGENCES, DMD2, DiffInstruct, FDistill
from fastdiff.methods.loss_memory import RunningMoments
from fastdiff.methods.time_sampling import KarrasIndex
from tests.helpers.matching import (
    LEVELS,
    OWN,
    PLANE,
    SEEN,
    TRUTH,
    VARIANTS,
    WRONG,
    At,
    F,
    agree,
    divided,
    f_divergence,
    fooled,
    judged,
    kullback_leibler,
    legendre,
    mean_slope,
    slope,
    weight_of,
    whole,
)
from tests.helpers.oracles import named

pytestmark = pytest.mark.usefixtures("large_batches")


# ---- Diff-Instruct


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP(), Karras()], **named)
def test_diff_instruct_has_the_gradient_of_the_integral_of_the_divergence(schedule):
    for power in (0.0, 1.0):
        assert agree(
            slope(DiffInstruct(times=At(), power=power), schedule), mean_slope(kullback_leibler(power)) / 4
        )


@pytest.mark.parametrize("level", LEVELS)
def test_diff_instruct_at_one_level_of_noise(level):
    expected = mean_slope(kullback_leibler(), [level]) / 4
    assert agree(slope(DiffInstruct(times=At((level,)), power=0.0)), expected)
    assert not agree(slope(DiffInstruct(times=At((1.2 * level,)), power=0.0)), expected)


def test_diff_instruct_over_a_law_of_times():
    """Uniform, by Gauss's quadrature in time."""
    share, weight = legendre(20)
    times = 0.1 + 0.8 * share
    ratios = torch.tan(torch.pi / 2 * times)
    at = lambda numbers, ratio: 20 * weight[ratios == ratio] * kullback_leibler()(numbers, ratio)  # noqa: E731
    expected = mean_slope(at, ratios) / 4
    assert agree(slope(DiffInstruct(times=Uniform(0.1, 0.9), power=0.0)), expected)


@VARIANTS
def test_no_wrong_diff_instruct_has_that_gradient(wrong):
    judged(DiffInstruct, mean_slope(kullback_leibler()) / 4, wrong, {"power": 0.0})


def test_a_missing_weight_is_found():
    assert not agree(slope(DiffInstruct(times=At(), power=0.5)), mean_slope(kullback_leibler()) / 4)


# ---- DMD2


NO_CRITIC = {"gan": Adversary(weight=0)}


@VARIANTS
def test_dmd2_has_the_gradient_in_each_samples_own_unit(wrong):
    judged(DMD2, divided(lambda x, real, fake, dreal, dfake: fake - real), wrong, NO_CRITIC)


def test_dmd2_without_the_units_has_that_of_the_divergence_alone(monkeypatch):
    whole(monkeypatch)
    found = slope(DMD2(times=At(), **NO_CRITIC))
    assert agree(found, mean_slope(kullback_leibler(2.0)) / 4)
    assert not agree(found, divided(lambda x, real, fake, dreal, dfake: fake - real))


# ---- f-distill


@pytest.mark.parametrize("divergence", F)
def test_f_distill_has_the_gradient_of_its_f_divergence(divergence, monkeypatch):
    whole(monkeypatch)
    found = slope(FDistill(times=At(), divergence=divergence, gan=SEEN), dims=PLANE, n=8192, batches=16)
    expected = {
        name: mean_slope(f_divergence(F[name]), dims=PLANE) / 2
        for name in {divergence, "forward_kl", "neyman"}
    }
    assert [name for name in expected if agree(found, expected[name])] == [divergence]


@pytest.mark.parametrize("divergence", F)
def test_its_weight_of_a_ratio_is_the_second_derivative_times_its_square(divergence):
    """Up to a factor, which the mean takes away."""
    r = torch.linspace(-8, 8, 99).double().exp().requires_grad_()
    share = DIVERGENCES[divergence](r) / weight_of(F[divergence], r)
    torch.testing.assert_close(share, share[:1].expand_as(share), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("wrong", "options"),
    [
        ("flipped", {}),
        ("teacher late", {}),
        ("fake late", {}),
        ("right", {"scale": -1.0}),
        ("right", {"scale": 0.0}),
    ],
)
def test_no_wrong_f_distill_has_that_gradient(wrong, options, monkeypatch):
    """Nor has one whose discriminator mistakes the data for the samples, or knows nothing."""
    whole(monkeypatch)
    how = WRONG[wrong] | options
    method = how.pop("change", lambda kind: kind)(FDistill)(times=At(), gan=SEEN)
    expected = mean_slope(f_divergence(F["jensen_shannon"]), dims=PLANE) / 2
    assert not agree(slope(method, dims=PLANE, n=8192, batches=16, **how), expected)


def test_f_distill_of_the_reverse_divergence_is_dmd2():
    """Whose weight is 1, in each sample's own unit."""
    first, second = (
        slope(method, dims=PLANE, batches=2)
        for method in (FDistill(times=At(), divergence="reverse_kl", gan=SEEN), DMD2(times=At(), gan=SEEN))
    )
    torch.testing.assert_close(first, second)


def weights_of(method, logits, t, batches=2):
    """The weights h (B,) that f-distill gives to samples of these logits, once its statistics are known."""
    x = torch.zeros(len(t), 1, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(len(t), 1, dtype=torch.float64)
    nets = {"fake": Denoiser(nn.Identity(), Cosine(), "x0", (1,))}
    nets |= {"ratios": RunningMoments(10, 0.0), "ratio_weights": RunningMoments(1, 0.0)}
    for _ in range(batches + 1):
        loss, logs = method.matching_loss(nets, x, ones, 2 * ones, t, logits)
        nets["ratios"].absorb(lambda sums: sums)
        nets["ratio_weights"].absorb(lambda sums: sums)
    return len(t) * torch.autograd.grad(loss, x)[0][:, 0], logs


@pytest.mark.parametrize("divergence", F)
def test_the_ratio_is_clamped_and_has_mean_one_in_every_bin_of_time(divergence):
    """And its weight has mean one, and so has a discriminator's that is off by a factor within the bounds."""
    torch.manual_seed(0)
    t, logits = torch.rand(512).double(), torch.randn(512, 3).double()
    ratio = logits.mean(1).exp().clamp(0.1, 20)
    bins = (10 * t).long()
    ratio = ratio / torch.stack([ratio[bins == k].mean() for k in range(10)])[bins]
    h = DIVERGENCES[divergence](ratio)
    method = FDistill(divergence=divergence)
    found, logs = weights_of(method, logits, t)
    torch.testing.assert_close(found, h / h.mean())
    torch.testing.assert_close(logs["ratio_spread"], h.std(correction=0) / h.mean())
    torch.testing.assert_close(
        weights_of(method, logits / 4 + 0.7, t)[0], weights_of(method, logits / 4, t)[0]
    )
    sure = logits[:, :1].sign()
    torch.testing.assert_close(weights_of(method, 5 * sure, t)[0], weights_of(method, 9 * sure, t)[0])
    assert (logs["ratio_spread"] == 0) == (divergence == "reverse_kl")


# ---- the discriminator's term


LOSSES = {"softplus": lambda logit: softplus(-logit), "hinge": lambda logit: -logit}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_critics_term_has_the_gradient_of_the_loss_of_its_logits(loss):
    """Alone: of a student that the fake and the teacher cannot tell apart. The discriminator tells."""
    gan, expected = (
        Adversary(weight=0.5, loss=loss, features=("seen",)),
        mean_slope(fooled(LOSSES[loss]), dims=PLANE) / 2,
    )
    found = slope(DMD2(times=At(), discriminator_times=None, gan=gan), dims=PLANE, truth=OWN)
    assert agree(found, expected)
    assert not agree(found, 2 * expected) and not agree(found, -expected)
    assert not agree(
        found, mean_slope(fooled(LOSSES["hinge" if loss == "softplus" else "softplus"]), dims=PLANE) / 2
    )
    wrong = slope(DMD2(times=At(), discriminator_times=None, gan=gan), dims=PLANE, truth=OWN, scale=0.7)
    assert not agree(wrong, expected)


def test_the_critics_term_is_at_levels_of_its_own():
    """At other levels than those of the scores, with other noise."""
    gan, own = Adversary(weight=0.5, features=("seen",)), (0.7, 1.5)
    expected = mean_slope(fooled(LOSSES["softplus"]), own, dims=PLANE) / 2
    method = DMD2(times=At(), discriminator_times=At(own), gan=gan)
    assert agree(slope(method, dims=PLANE, truth=OWN), expected)
    assert not agree(slope(replace(method, discriminator_times=None), dims=PLANE, truth=OWN), expected)


@pytest.mark.parametrize(("weight", "right"), [(0.3, True), (0.4, False)])
def test_both_terms_add_up(weight, right, monkeypatch):
    whole(monkeypatch)
    gan = Adversary(weight=weight, features=("seen",))
    expected = mean_slope(kullback_leibler(2.0, TRUTH[:, PLANE]), dims=PLANE) / 2
    expected += 0.3 * mean_slope(fooled(LOSSES["softplus"]), dims=PLANE)
    assert agree(slope(DMD2(times=At(), discriminator_times=None, gan=gan), dims=PLANE), expected) == right


def test_laws_and_optimizers_are_the_authors():
    assert DiffInstruct().times == DiffInstruct().fake_times == LogNormal(-1.2, 1.2)
    assert DiffInstruct().training == {"betas": (0.0, 0.999), "max_grad_norm": 0.0}
    for method in (DMD2(), FDistill()):
        assert method.discriminator_times == KarrasIndex(points=1000)
        own = {"optimizer": "adamw", "betas": (0.9, 0.999), "weight_decay": 0.01, "max_grad_norm": 10.0}
        assert method.training == own | {"roles": {"discriminator": {"lr": 1e-3}}}
    assert "roles" not in DMD2(**NO_CRITIC).training
