"""What adversaries are shown, the pictures they judge, and the settings that cannot be."""

import pytest
import torch
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.core.validation import call
from fastdiff.data.toys import digits
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.ctm import CTM
from fastdiff.methods.discriminator_features import VGG16, Classifier, Teachers
from fastdiff.methods.gan import GAN
from fastdiff.methods.lcm import PCM, noise_further
from fastdiff.methods.progressive import Progressive, ddim_step, implied_x0
from fastdiff.networks.discriminator import Discriminator
from fastdiff.samplers.generate import sample
from fastdiff.training.config import merge_train_config
from fastdiff.training.loop import Training
from tests.helpers.adversaries import SEEN, pictures, points
from tests.helpers.oracles import named, told

EVERY = pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)


# ---- what is shown


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
    (features,) = Progressive(gan=Adversary(weight=1.0, features=("",))).extract_features(
        teacher, None, x, t, s, x0
    )
    ((y, at, _, _),) = teacher.net.asked
    assert features[0].shape == (3, 1, 4) and torch.equal(y[3:], x) and torch.equal(at[3:], t.float())
    assert (at[:3] > 0).all() and torch.equal(at[1:3], s[1:].float())
    torch.testing.assert_close(y[0], x0[0])
    torch.testing.assert_close(implied_x0(schedule, x, t, y[:3], s), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ddim_step(schedule, x, t, x0, s), y[:3])


@EVERY
def test_noise_within_a_phase_adds_up(schedule):
    x0 = torch.tensor([[2.0]]).double()
    eps, more = torch.randn(2, 100_000, 1, generator=torch.Generator().manual_seed(0)).double()
    u, t = (torch.tensor(share * schedule.t_max, dtype=torch.float64) for share in (0.4, 0.2))
    found = noise_further(schedule, schedule.mix(x0, eps, t), t, u, more)
    alpha, sigma = schedule.alpha_sigma(u)
    assert abs(found.mean() - 2 * alpha) < 0.02 * (1 + sigma) and abs(found.std() / sigma - 1) < 0.01
    torch.testing.assert_close(noise_further(schedule, eps, t, t, torch.full_like(eps, 1e9)), eps)


# ---- features by the names of modules


def test_settings_that_are_not_given_are_the_methods_own():
    names = ("dmd2", "sida", "ladd", "add", "gan")
    made = {name: call(METHODS, name, {"gan": {"hidden": 64}}, "method").gan for name in names}
    assert all(gan == METHODS[name]().gan.model_copy(update={"hidden": 64}) for name, gan in made.items())
    assert made["dmd2"].weight == 3e-3 and made["add"].loss == "hinge" and made["gan"].r1 == 0.1


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN(gan=Adversary()), "gan: expected a weight above 0 and no features"),
        (lambda: GAN(gan=SEEN), "gan: expected a weight above 0 and no features"),
        (lambda: GAN(discriminator_turns=0), "discriminator_turns = 0"),
        (lambda: LADD(discriminator_turns=0), "discriminator_turns = 0"),
        (lambda: LADD(gan=Adversary()), "gan.weight = 0: expected above 0"),
        (lambda: LADD(steps=()), r"steps = \[\]"),
        (lambda: ADD(distill=-1.0), "distill = -1"),
        (lambda: VGG16(size=15), "size = 15"),
        (lambda: Teachers(0.0), "level = 0.0"),
        (lambda: CTM(gan_start=2.0), "gan_start = 2"),
        (
            lambda: call(METHODS, "gan", {"gan": {"weight": 1, "loss": "wgan"}}, "method"),
            "method.gan.loss: expected",
        ),
        (
            lambda: call(METHODS, "add", {"features_of": "dino"}, "method"),
            "method.features_of: 'dino' is unknown, choose from",
        ),
        (lambda: Discriminator((2, 16, 16, 16)), "discriminator with its own trunk expected vectors"),
        (
            lambda: ADD(gan=SEEN, features_of=VGG16()).trainable_networks(points(), points()),
            "gan.features: .* features_of is another network; leave them",
        ),
        (
            lambda: ADD(features_of=VGG16()).trainable_networks(points(), points()),
            "1 or 3 channels, the samples have .* choose teacher",
        ),
        (lambda: Classifier("/nowhere").load("cpu"), "expected a folder with model.safetensors"),
        (
            lambda: ADD(features_of=Classifier("checkpoints/digits/features")).trainable_networks(
                points(), points()
            ),
            "takes images of 8 x 8",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- pictures


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
    config = merge_train_config(method.training, {"steps": 3, "batch": 64, "log_every": 1}, path="train")
    training = Training(
        method,
        Progress,
        begun,
        pictures() if method.needs_teacher else None,
        digits(),
        config,
        tmp_path,
        Accelerator(cpu=True),
    )
    begun.sampling = method.sampling()
    logs = [logs for _, logs in training]
    assert all(value is not None for line in logs for value in line.values()), logs
    assert {"discriminator/discriminator_real", "discriminator/discriminator_fake", "gan"} <= set(logs[-1])
    assert {"coverage", "spread"} <= set(logs[-1]) or isinstance(method, CTM | Progressive | PCM)
    assert sample(training.result(), steps=begun.sampling.steps[0], n=2, labels=[1, 2]).shape == (2, 1, 8, 8)
