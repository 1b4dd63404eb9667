"""Denoising: its minimum is the truth, at any law of times."""

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.methods.base import Importance, LogitNormal, Uniform
from fastdiff.methods.denoising import Denoising
from tests.helpers.oracles import POINT, START, batch_of, draws_of, mixture, named, told


def test_a_loss_at_chosen_times_is_the_loss_at_uniform_times():
    """The error in v is made (0.2 + 3 t^2)^2, whose mean over uniform t is known."""
    schedule, method = Flow(), Denoising(Importance(bins=8))
    student = told(lambda x, t, s: POINT + like(t * (0.2 + 3 * t**2), x), schedule, "velocity")
    nets, losses = {"student": student, **method.trainable_networks(student, None)}, []
    for seed in range(12):
        losses.append(method.loss(("student",), nets, batch_of(POINT.repeat(4096, 1), seed), START))
        nets["memory"].absorb(lambda sums: sums)  # as the loop does
    exact = 0.04 + 2 * 0.2 * 3 / 3 + 9 / 5
    chosen = torch.stack([loss for loss, _ in losses[2:]])  # the first two fill the memory, at uniform times
    assert (chosen.mean() - exact).abs() < 4 * chosen.std() / len(chosen) ** 0.5
    assert losses[-1][1]["unweighted"] > 1.5 * exact


@pytest.mark.parametrize("times", [Uniform(), LogitNormal(), Importance(bins=4)], **named)
def test_the_minimum_is_at_the_truth(times):
    """The exact posterior mean, tilted by a parameter: no mean gradient in v at zero,
    and a plain one away from it."""
    schedule = Cosine()
    oracle = mixture(schedule)
    tilt = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    student = told(lambda x, t, s: oracle(x, t).x0 + like(t, x) * (tilt[0] * x + tilt[1]), schedule, "v")
    student.net.tilt = tilt
    method = Denoising(times)
    nets = {"student": student, **method.trainable_networks(student, None)}
    scores = {}
    for place in (0.0, 0.05):
        tilt.data.fill_(place)
        losses = (
            method.loss(("student",), nets, batch_of(draws_of(oracle, 2048, k), k), START)[0]
            for k in range(24)
        )
        found = torch.stack([torch.autograd.grad(loss, tilt)[0] for loss in losses])
        scores[place] = found.mean(0) / (found.std(0) / len(found) ** 0.5)
    assert scores[0.0].abs().max() < 3
    assert scores[0.05].min() > 10


def test_the_loss_is_the_error_in_the_networks_own_output():
    schedule, x0 = Cosine(), draws_of(mixture(Cosine()), 64)
    student = told(lambda x, t, s: torch.zeros_like(x), schedule, "v")
    loss, _ = Denoising().loss(("student",), {"student": student}, batch_of(x0), START)
    ((x, t, _, _),) = student.net.asked
    alpha, sigma = (like(c, x) for c in schedule.alpha_sigma(t))
    eps = (x - alpha * x0) / sigma
    wanted, guess = alpha * eps - sigma * x0, alpha * x / sigma  # v of the data, and of x0 = 0
    torch.testing.assert_close(loss, (wanted - guess).square().mean())


def test_labels_drop_to_the_null_class_in_their_share():
    labels, schedule = torch.arange(4000) % 3, Flow()
    student = told(lambda x, t, s: torch.zeros_like(x), schedule, "velocity")
    student.net.null_label = 3
    batch = batch_of(torch.zeros(4000, 2).double(), cond={"label": labels})
    Denoising(label_dropout=0.1).loss(("student",), {"student": student}, batch, START)
    seen = student.net.asked[0][3]["label"]
    kept = seen != 3
    assert abs((~kept).double().mean() - 0.1) < 3 * (0.09 / 4000) ** 0.5
    assert torch.equal(seen[kept], labels[kept]) and torch.equal(batch.cond["label"], labels)
