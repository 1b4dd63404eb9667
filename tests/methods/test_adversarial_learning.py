"""Adversarial methods learn the toy mixture, and the collapse of a plain adversary is measured."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.data.toys import mixture, toy
from fastdiff.methods import METHODS
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import Uniform
from fastdiff.methods.ctm import CTM
from fastdiff.methods.diagnostics import coverage, spread
from fastdiff.methods.discriminator_features import Teachers
from fastdiff.methods.dmd2 import DMD2
from fastdiff.methods.gan import GAN
from fastdiff.methods.lcm import PCM
from fastdiff.methods.progressive import Progressive
from fastdiff.networks import mlp
from fastdiff.samplers.generate import sample
from tests.helpers.adversaries import ALL
from tests.helpers.consistency import energy, trained

pytestmark = pytest.mark.long

MEANS, _, WEIGHTS = mixture()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A denoiser of the mixture."""
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,))
    return trained(
        METHODS["denoising"](),
        model,
        None,
        tmp_path_factory.mktemp("teacher"),
        600,
        lr=2e-3,
        lr_schedule="cosine",
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
    """The original game with Adam's usual momentum falls into one or two modes;
    with neither it finds all eight."""
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


SHARP = Adversary(weight=1.0, features=ALL, r1=0.03 / len(ALL))
RATE = {"lr": 2e-3, "lr_schedule": "cosine", "roles": {"discriminator": {"lr": 2e-3}}}


LOW = Uniform(0.02, 0.6)  # levels of noise that leave the modes apart


@pytest.mark.parametrize(
    "method",
    [LADD(gan=SHARP, times=LOW), ADD(steps=(1, 2), gan=SHARP, features_of=Teachers(0.1), distill=0.1)],
    ids=["ladd", "add"],
)
def test_adversarial_distillation_finds_all_modes(method, teacher, tmp_path):
    """In every number of steps; the teacher's one step finds none."""
    student = trained(method, teacher, teacher, tmp_path, 300, **RATE)
    found = [(shares(student, k), energy(student, k)) for k in method.steps]
    print(type(method).__name__, energy(teacher, 1), found)
    assert all((share > 0.4).all() and far < 0.03 for share, far in found) and energy(teacher, 1) > 0.3


def test_one_student_of_several_steps_matches_in_each(teacher, tmp_path):
    """With an optimizer for a thousand updates, without momentum, as in recipes/methods."""
    method = DMD2(steps=(1, 2, 4), fake_turns=2, gan=Adversary())
    small = {"optimizer": "adam", "betas": (0.0, 0.999), "weight_decay": 0.0, "max_grad_norm": 1.0}
    student = trained(method, teacher, teacher, tmp_path, 900, lr=2e-3, lr_schedule="cosine", **small)
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
        trained(method, teacher, teacher, tmp_path, 150, lr=2e-3, lr_schedule="cosine"),
        method.sampling().steps[0],
    )
    found, before = energy(student, steps), energy(teacher, steps)
    print(type(method).__name__, steps, before, found / before)
    assert found < least * before
