"""The discriminator of distribution matching: the levels of noise at which it sees data and samples."""

import pytest
import torch

from fastdiff.core.schedule import Cosine
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.base import Uniform
from fastdiff.methods.dmd2 import DMD2
from tests.helpers.oracles import MIDDLE, batch_of, constant, told

LOW = Uniform(0.01, 0.02)
GAN = Adversary(weight=1.0, features=("",))  # of a network of no parts: what it puts out
FIVE = torch.tensor([5.0, 5.0])


def networks():
    """A student of one point, and a fake that keeps what it is asked."""
    fake = told(lambda x, t, s: x, Cosine(), "x0")
    nets = {role: constant(FIVE, Cosine(), "x0") for role in ("student", "teacher")}
    nets |= {"fake": fake, "discriminator": GAN.new_discriminator(fake)}
    fake.net.asked.clear()  # to know how wide its features are, it was asked once
    return nets


@pytest.mark.parametrize("own", [None, LOW])
@pytest.mark.parametrize("steps", [(1,), (1, 2)])
def test_data_and_samples_are_judged_at_the_same_levels(own, steps):
    """At those of the fake with its noise, or at levels of their own; in one pass, with the jump's time."""
    nets, n = networks(), 64
    method = DMD2(gan=GAN, discriminator_times=own, steps=steps)
    _, logs = method.loss(("fake", "discriminator"), nets, batch_of(-FIVE.repeat(n, 1)), MIDDLE)
    ((x, t, s, _),) = nets["fake"].net.asked
    alpha, sigma = (level.float()[:, None] for level in Cosine().alpha_sigma(t.double()))
    clean = [FIVE, -FIVE] + [FIVE] * (own is not None)  # samples, data, and samples again for the latter
    noise = ((x - alpha * torch.cat([one.repeat(n, 1) for one in clean])) / sigma).split(n)
    assert all(part.abs().max() < 5 and abs(part.std() - 1) < 0.2 for part in noise)
    assert torch.allclose(noise[0], noise[1], atol=0.05) == (own is None)
    times = t.split(n)
    assert torch.equal(times[1], times[-1]) and torch.equal(times[0], times[1]) == (own is None)
    assert times[0].max() > 0.5 and (own is None or times[1].max() < 0.0201)
    assert torch.equal(s, t) == (steps == (1,)) and {"discriminator_auc", "dsm"} <= set(logs)


def test_the_generators_term_has_a_pass_of_its_own_at_levels_of_its_own():
    nets = networks()
    method = DMD2(gan=GAN, discriminator_times=LOW)
    loss, logs = method.loss(("student",), nets, batch_of(-FIVE.repeat(64, 1)), MIDDLE)
    (_, first, _, _), (_, second, _, _) = nets["fake"].net.asked
    assert second.max() < 0.0201 and first.max() > 0.5 and logs["gan_share"] > 0
    loss.backward()
    assert nets["student"].net.point.grad.abs().max() > 0
