"""Networks of a run that are frozen: no gradient, no optimizer, no place in the state."""

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file

from fastdiff.data.toys import toy
from fastdiff.methods import Progress
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training
from tests.helpers.trainings import Duel, made

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_is_frozen_has_no_gradient_no_optimizer_and_no_place_in_the_state(tmp_path):
    """Three networks that learn, two averages and a teacher; and in a turn no other role gets a gradient."""
    config = TrainConfig(steps=4, batch=16, save_every=3)
    run = Training(Duel(), Progress, made(0), made(1), toy(n=64), config, tmp_path, Accelerator(cpu=True))
    assert set(run.frozen) == {"teacher", "ema", "slow"}
    assert set(run.roles) == set(run.trained) == {"student", "discriminator", "fake"}
    reached, loss = [], run.method.loss
    clipped = {name: role.clip_gradients for name, role in run.roles.items()}

    def watched(turn, nets, batch, progress):
        answer = loss(turn, nets, batch, progress)
        reached.append((turn, set()))
        return answer

    run.method.loss = watched
    for name, role in run.roles.items():
        role.clip_gradients = lambda name=name: (
            reached[-1][1].update(
                other for other, one in run.roles.items() if any(p.grad is not None for p in one.weights)
            ),
            clipped[name](),
        )[1]
    for _ in run:
        for net in run.frozen.values():
            assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert reached == [(turn, set(turn)) for turn in (("discriminator", "fake"), ("student",))] * 4
    for name, net in run.trained.items():
        held = {id(p) for group in run.roles[name].optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in net.parameters()} == {id(p) for p in run.roles[name].optimizer.state}
    saved = load_file(tmp_path / "state/00000004/tensors.safetensors")
    parts = {name.removeprefix("optimizer.").partition(".")[0] for name in saved}
    assert parts == {"student", "discriminator", "fake", "ema", "slow"}
    teacher = {p.detach().numpy().tobytes() for p in run.frozen["teacher"].parameters() if p.ndim > 1}
    assert teacher and not teacher & {value.numpy().tobytes() for value in saved.values()}
