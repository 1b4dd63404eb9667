"""Roles: who learns in a turn, by which settings, and what is frozen."""

import pytest
import torch
from torch import nn

from fastdiff.core.errors import FastdiffError
from fastdiff.methods.denoising import Denoising
from fastdiff.training.config import RoleConfig
from tests.helpers.tiny_training import Duel, finish, log_of, training, weights, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_only_the_roles_of_a_turn_receive_gradients(tmp_path, monkeypatch):
    method, reached = Duel(), []
    run = training(tmp_path, method, steps=2, log_every=1)
    learn, clip = run.learner.learn, nn.utils.clip_grad_norm_

    def spy(parameters, norm):
        reached.append({r: sum(p.grad is not None for p in own) for r, own in weights_of(run).items()})
        return clip(parameters, norm)

    def watched(turn, *rest):
        before = {r: torch.cat([p.detach().flatten() for p in own]) for r, own in weights_of(run).items()}
        logs = learn(turn, *rest)
        for role, own in weights_of(run).items():
            assert torch.equal(before[role], torch.cat([p.detach().flatten() for p in own])) == (
                role not in turn
            )
        return logs

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spy)
    monkeypatch.setattr(run.learner, "learn", watched)
    slow = weights(run.targets["slow"])
    finish(run)
    count = {role: len(own) for role, own in weights_of(run).items()}
    assert (
        reached == [{"student": count["student"], "discriminator": 0}, {"student": 0, "discriminator": 2}] * 2
    )
    assert [turn for turn, _ in method.seen] == [("student",), ("discriminator",)] * 2
    assert all(p.requires_grad for own in weights_of(run).values() for p in own)
    assert all(p.grad is None for net in (run.average, run.targets["slow"]) for p in net.parameters())
    assert not torch.equal(slow, weights(run.targets["slow"]))  # the target average followed
    logged = ("loss", "value", "grad")
    assert set(log_of(tmp_path)[0]) == {
        "step",
        "images",
        "lr",
        "drift",
        *logged,
        *(f"discriminator/{name}" for name in logged),
    }


def test_roles_of_one_turn_learn_together(tmp_path):
    run = training(tmp_path, Duel(both=True), steps=1, log_every=1)
    before = {r: torch.cat([p.detach().flatten() for p in own]) for r, own in weights_of(run).items()}
    finish(run)
    for role, own in weights_of(run).items():
        assert not torch.equal(before[role], torch.cat([p.detach().flatten() for p in own]))
    assert {"loss", "student/grad", "discriminator/grad"} <= set(log_of(tmp_path)[0])


def test_a_role_learns_by_its_own_settings_and_the_common_schedule(tmp_path):
    """Adam's first update moves every weight by the rate, whatever the gradient;
    what is left out is the training's."""
    own = {"discriminator": RoleConfig(lr=0.03, betas=(0.0, 0.99), optimizer="adamw", max_grad_norm=1e-3)}
    run = training(
        tmp_path, Duel(), steps=8, lr=0.01, warmup=1, lr_schedule="linear", max_grad_norm=0.5, roles=own
    )
    before = {role: torch.cat([p.detach().flatten() for p in of]) for role, of in weights_of(run).items()}
    run.advance()
    for role, rate in (("student", 0.01 / 2), ("discriminator", 0.03 / 2)):
        moved = torch.cat([p.detach().flatten() for p in weights_of(run)[role]]) - before[role]
        assert moved.abs().max() == pytest.approx(rate, rel=0.02), role
    run.advance()
    student, discriminator = (run.roles[role] for role in ("student", "discriminator"))
    rates = [role.optimizer.param_groups[0]["lr"] for role in (student, discriminator)]
    assert rates == pytest.approx([0.01 * 7 / 8, 0.03 * 7 / 8])
    assert (type(student.optimizer), student.config.betas, student.config.max_grad_norm) == (
        torch.optim.Adam,
        (0.9, 0.999),
        0.5,
    )
    assert (
        type(discriminator.optimizer),
        discriminator.config.betas,
        discriminator.config.max_grad_norm,
    ) == (
        torch.optim.AdamW,
        (0.0, 0.99),
        1e-3,
    )
    for p in discriminator.weights:
        p.grad = torch.ones_like(p)
    assert discriminator.clip_gradients() == pytest.approx(3**0.5)
    assert torch.cat([p.grad.flatten() for p in discriminator.weights]).norm() == pytest.approx(
        1e-3, rel=1e-2
    )


def test_settings_of_a_role_that_the_method_has_not_are_refused(tmp_path):
    with pytest.raises(
        FastdiffError,
        match="^train.roles.discriminater: the method trains no such role, did you mean discriminator.$",
    ):
        training(tmp_path / "a", Duel(), roles={"discriminater": RoleConfig(lr=1.0)})
    with pytest.raises(
        FastdiffError, match="^train.roles.fake: the method trains no such role, choose from student$"
    ):
        training(tmp_path / "b", Denoising(), roles={"fake": RoleConfig(lr=1.0)})
    assert not (tmp_path / "a").exists()
