"""Matching by a divergence (Diff-Instruct, DMD2, f-distill) against its gradient in closed form."""

import pytest
import torch
from torch.nn.functional import softplus

from fastdiff.core.schedule import VP, Cosine, Flow, Karras
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import Uniform
from fastdiff.methods.dmd2 import DIVERGENCES, DMD2, DiffInstruct, FDistill
from fastdiff.methods.sid import SiDA
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
    """Up to a factor, which the root mean square takes away."""
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


# ---- the discriminator's term


LOSSES = {"softplus": lambda logit: softplus(-logit), "hinge": lambda logit: -logit}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_critics_term_has_the_gradient_of_the_loss_of_its_logits(loss):
    """Alone: of a student that the fake and the teacher cannot tell apart. The discriminator tells."""
    gan, expected = (
        Adversary(weight=0.5, loss=loss, features=("seen",)),
        mean_slope(fooled(LOSSES[loss]), dims=PLANE) / 2,
    )
    found = slope(SiDA(times=At(), gan=gan), dims=PLANE, truth=OWN)
    assert agree(found, expected)
    assert not agree(found, 2 * expected) and not agree(found, -expected)
    assert not agree(
        found, mean_slope(fooled(LOSSES["hinge" if loss == "softplus" else "softplus"]), dims=PLANE) / 2
    )
    torch.testing.assert_close(slope(DMD2(times=At(), gan=gan), dims=PLANE, truth=OWN), found)
    assert not agree(slope(SiDA(times=At(), gan=gan), dims=PLANE, truth=OWN, scale=0.7), expected)


@pytest.mark.parametrize(("weight", "right"), [(0.3, True), (0.4, False)])
def test_both_terms_add_up(weight, right, monkeypatch):
    whole(monkeypatch)
    expected = mean_slope(kullback_leibler(2.0, TRUTH[:, PLANE]), dims=PLANE) / 2
    expected += 0.3 * mean_slope(fooled(LOSSES["softplus"]), dims=PLANE)
    assert (
        agree(slope(DMD2(times=At(), gan=Adversary(weight=weight, features=("seen",))), dims=PLANE), expected)
        == right
    )
