"""A step's passes are counted as they are."""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.profiling.passes import passes_of
from fastdiff.evaluation.profiling.training import cost, make_training
from fastdiff.methods import Method
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.gan import GAN
from fastdiff.networks import unet
from tests.helpers.passes import counted, made

pytestmark = [pytest.mark.alone, pytest.mark.long]


# What a step of a batch of 8 asks of its networks.
PARTS = {
    "denoising": {"student fwd+bwd 8": 1},
    "ect": {"student fwd+bwd 8": 1, "student fwd 8": 1},
    "cd": {"student fwd+bwd 8": 1, "teacher fwd 8": 2, "student fwd 8": 1},
    "cd[solver=euler,mu=0.9]": {"student fwd+bwd 8": 1, "teacher fwd 8": 1, "target fwd 8": 1},
    "ct": {"student fwd+bwd 8": 1, "target fwd 8": 1},
    "tcm": {"student fwd+bwd 8": 1, "stage_one fwd 8": 1, "student fwd 8": 1},
    "sct": {"student fwd+bwd 8": 1, "student jvp 8": 1, "weighting fwd+bwd 8": 1},
    "sct[differences=0.1]": {"student fwd+bwd 8": 1, "student fwd 8": 2, "weighting fwd+bwd 8": 1},
    "scd": {"student fwd+bwd 8": 1, "teacher fwd 8": 1, "student jvp 8": 1, "weighting fwd+bwd 8": 1},
    "meanflow": {"student fwd+bwd 8": 1, "student jvp 8": 1},
    "imf": {"student fwd+bwd 8": 1, "student fwd 8": 1, "student jvp 8": 1},
    "progressive": {"student fwd+bwd 8": 1, "teacher fwd 8": 2},
    "imm": {"student fwd+bwd 8": 1, "student fwd 8": 1},
    "kd": {"student fwd+bwd 8": 1},
}


@pytest.mark.parametrize("name", PARTS)
def test_passes_are_counted(name, points, tmp_path):
    assert counted(name, points, tmp_path) == PARTS[name]


def test_a_gradient_that_passes_through_a_frozen_network_is_a_pass_of_its_own(points, tmp_path):
    found = counted("ctm[points=2]", points, tmp_path)  # one step of the teacher, whatever is drawn
    assert found == {
        "student fwd+bwd 16": 1,
        "target fwd+bwd to x 8": 1,
        "teacher fwd 8": 2,
        "target fwd 8": 2,
    }


def test_the_gradient_of_a_penalty_on_a_gradient_leads_back_twice(points, tmp_path):
    found = counted("gan", points, tmp_path)
    assert found == {
        "student fwd 8": 1,
        "discriminator fwd+2 bwd of bwd 16": 1,
        "student fwd+bwd 8": 1,
        "discriminator fwd+bwd to x 8": 1,
    }
    training = make_training(
        GAN(gan=Adversary(weight=1.0)), points, 8, tmp_path
    )  # and without the penalty once
    assert {"discriminator fwd+bwd 16"} < set(map(str, passes_of(training, training.advance)))


class Heads(nn.Module):
    """Logits of features."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 1)

    def forward(self, features, cond=None):
        return self.head(features[0])


@dataclass
class Match(Method):
    """A fake and a discriminator on its features learn in every step, the student in every third."""

    seen: ClassVar[list[int]] = []
    training: ClassVar[dict] = {"roles": {"discriminator": {"lr": 0.01}}}
    needs_teacher: ClassVar[bool] = True
    cycle: ClassVar[int] = 3

    def trainable_networks(self, student, teacher):
        return {"fake": copy.deepcopy(teacher).requires_grad_(True), "discriminator": Heads()}

    def turns(self, progress):
        self.seen.append(progress.step)
        return (
            (("fake", "discriminator"), ("student",))
            if progress.step % 3 == 2
            else (("fake", "discriminator"),)
        )

    def loss(self, turn, nets, batch, progress):
        features, x, t = (
            [],
            batch.rng.normal(batch.x0.shape[1:]),
            torch.ones(len(batch.x0), dtype=torch.float64),
        )
        with torch.set_grad_enabled("student" in turn):
            x = nets["student"](x, t).x0
        with (
            nets["fake"]
            .net.blocks[0]
            .register_forward_hook(lambda net, inputs, output: features.append(output))
        ):
            said = nets["fake"](x, t / 2).x0
        told = nets["discriminator"](features, cond=None).square().mean()
        if "student" not in turn:
            return told + said.square().mean(), {}
        slope = sum(
            torch.autograd.grad(term, x, retain_graph=True)[0] for term in (told, said.square().mean())
        )
        with torch.no_grad():
            slope = slope + nets["teacher"](x, t / 2).x0
        return (x * slope).mean(), {}

    def sampling(self):
        return Sampling("consistency", "uniform", (1,))


def test_the_passes_of_several_networks_are_counted_over_a_cycle(points, tmp_path):
    """A discriminator backpropagates through the fake from its features on, and two terms do so twice."""
    training = make_training(Match(), points, 8, tmp_path)
    found = passes_of(training, lambda: [training.advance() for _ in range(3)])
    assert Counter(map(str, found)) == {
        "student fwd 8": 3,
        "fake fwd+bwd 8": 3,
        "discriminator fwd+bwd 8": 3,
        "student fwd+bwd 8": 1,
        "fake fwd+2 bwd to x 8": 1,
        "discriminator fwd+bwd to x 8": 1,
        "teacher fwd 8": 1,
    }
    fake = training.trained["fake"].net
    (both,) = (one for one in found if one.kind == "fwd+2 bwd to x")
    assert [layer for layer, _ in both.ways] == [fake.blocks[0][-1], fake.last]
    for one in found:
        one()
    assert all(p.grad is None for net in training.trained.values() for p in net.parameters())
    Match.seen.clear()
    row = cost(Match(), points, 8, 2)
    assert (row["cycle"], row["parts"].count(",")) == (3, 6)
    assert Match.seen == [498, 499, 500] * 4  # once for its memory, once watched, twice timed


def test_layers_that_branch_meet_and_do_nothing_are_one_way_back(tmp_path):
    """Those of a network with skips, attention, and dropout that drops nothing."""
    torch.manual_seed(0)
    net = unet((1, 8, 8), 10, channels=(8, 16), layers=1, attention=(4,))
    assert counted("ect", Denoiser(net, Cosine(), "v", (1, 8, 8)), tmp_path) == PARTS["ect"]


def test_every_repetition_draws_the_same(points, tmp_path):
    """Batches and their noise: which passes a step makes may hang on it."""
    drawn, ect = [], made("ect")
    loss = ect.loss
    ect.loss = lambda turn, nets, batch, progress: drawn.append(batch) or loss(turn, nets, batch, progress)
    cost(ect, points, 8, 2)
    assert len(drawn) == 4 and all(torch.equal(batch.x0, drawn[0].x0) for batch in drawn)
    assert len({float(batch.shared.uniform()) for batch in drawn}) == 1


def test_a_pass_made_again_is_the_pass(points, tmp_path):
    """On the same input, the same output; it leaves no gradient behind."""
    training = make_training(made("meanflow"), points, 8, tmp_path)
    seen = []
    hook = training.student.net.register_forward_hook(
        lambda net, inputs, output: seen.append(output.detach().clone())
    )
    passes = passes_of(training, training.advance)
    for net in training.trained.values():  # the weights that the step began with
        net.load_state_dict(
            make_training(made("meanflow"), points, 8, tmp_path).trained["student"].state_dict()
        )
    for one in passes:
        one()
    hook.remove()
    half = len(seen) // 2
    for first, again in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(again, first)
    assert all(p.grad is None for p in training.student.parameters())
