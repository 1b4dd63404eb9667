"""Arithmetic and memory: half precision, scaled losses, activations computed again, a pale teacher."""

from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import Importance
from fastdiff.methods.denoising import Denoising
from fastdiff.networks import MLP, unet
from fastdiff.training.loop import TrainConfig, Training
from tests.helpers.tiny_training import DATA, Duel, Ill, Spoilt, finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- arithmetic


@pytest.fixture
def precise():
    """Makes an accelerator of a precision; each process has one precision, which is taken back."""

    def make(precision):
        AcceleratorState._reset_state(True)
        return Accelerator(cpu=True, mixed_precision=precision)

    yield make
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("name", ["scd", "meanflow"])
def test_derivatives_stay_in_float32_where_the_network_is_in_bf16(tmp_path, precise, monkeypatch, name):
    seen = []
    embed = MLP.time_embedding
    monkeypatch.setattr(
        MLP,
        "time_embedding",
        lambda self, t: seen.append(self.last(torch.zeros(1, 16)).dtype) or embed(self, t),
    )
    method = METHODS[name]()
    config = TrainConfig(steps=3, batch=32, save_every=3, log_every=3)
    run = Training(method, Progress, method.student(tiny()), tiny(1), DATA, config, tmp_path, precise("bf16"))
    assert not {"forward", "_original_forward"} & set(vars(run.student))  # as accelerate would leave it
    finish(run)
    assert {torch.float32, torch.bfloat16} == set(seen) and all(
        line["loss"] is not None for line in log_of(tmp_path)
    )


def scaled(folder, method, **settings):
    """A training with a scaler, as fp16 has one."""
    run = training(folder, method, **settings)
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    return run


def test_a_scaler_serves_two_roles_of_a_turn(tmp_path):
    unscaled = training(tmp_path / "plain", Duel(both=True), steps=6)
    finish(unscaled)
    run = scaled(tmp_path / "scaled", Duel(both=True), steps=6)
    try:
        finish(run)
    finally:
        run.accelerator.scaler = None
    assert (weights(run.student) - weights(unscaled.student)).abs().max() < 1e-5


def test_what_a_scaler_skips_moves_nothing_and_without_end_stops(tmp_path):
    run = scaled(tmp_path / "two", Ill(at=(3, 4)), max_skips=3, log_every=1, steps=6)
    before = {}
    try:
        for step, _ in run:
            before[step] = weights(run.student).clone(), weights(run.average).clone()
    finally:
        run.accelerator.scaler = None
    still = [all(map(torch.equal, before[step], before[step - 1])) for step in range(2, 7)]
    assert still == [False, True, True, False, False]
    run = scaled(tmp_path / "none", Ill(at=(3,)), steps=6)
    try:
        with pytest.raises(FastdiffError, match="loss: not finite at step 3"):  # where none may be skipped
            finish(run)
    finally:
        run.accelerator.scaler = None
    run = scaled(tmp_path / "ever", Spoilt(how="gradient", at=0), steps=200)
    run.method.loss = lambda turn, nets, batch, progress, loss=Denoising.loss: (
        loss(run.method, turn, nets, batch, progress)[0]
        + (0 * sum(p.sum() for p in nets["student"].parameters())).square().sqrt(),
        {},
    )
    try:
        with pytest.raises(FastdiffError, match="grad: not finite at step 45, as in the 40 before.*bf16"):
            finish(run)
    finally:
        run.accelerator.scaler = None


def test_a_bad_loss_is_not_remembered_by_importance():
    memory = Importance(bins=2).memory()
    memory.record(torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([0.1, 0.2, 0.9]))
    memory.absorb(lambda sums: sums)
    assert memory.moment.tolist() == [1.0, 4.0] and memory.count.tolist() == [1, 1]


# ---- memory


def test_activations_computed_again_give_the_same_weights_and_are_not_kept(tmp_path):
    """A network of convolutions; the tensors that autograd keeps are counted."""
    data, results, kept = Dataset("noise", torch.randint(0, 256, (64, 1, 8, 8)).to(torch.uint8)), [], []
    for again in (False, True):
        torch.manual_seed(0)
        net = unet((1, 8, 8), channels=(16, 16), layers=2)
        nn.init.normal_(net.module.conv_out.weight, std=0.05)
        run = training(
            tmp_path / str(again),
            student=Denoiser(net, Flow(), "velocity", (1, 8, 8)),
            data=data,
            steps=3,
            gradient_checkpointing=again,
        )
        count = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, count=count: count.append(x.numel()) or x, lambda x: x
        ):
            finish(run)
        results.append(weights(run.average))
        kept.append(sum(count))
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    assert kept[1] < 0.5 * kept[0]
    with pytest.raises(FastdiffError, match="gradient_checkpointing: MLP knows none"):
        training(tmp_path / "mlp", gradient_checkpointing=True)


@dataclass
class Copied(Duel):
    """A duel in which the discriminator is a copy of the teacher, whose answers the student follows."""

    def trainable_networks(self, student, teacher):
        return {"discriminator": deepcopy(teacher).requires_grad_(True)}

    def loss(self, turn, nets, batch, progress):
        t = batch.rng.uniform()
        said, discriminator, aim = (
            nets[role](batch.x0, t, t).x0 for role in ("student", "discriminator", "teacher")
        )
        return (said - aim + discriminator).square().mean(), {}


@pytest.mark.parametrize("offload", [False, True])
def test_a_teacher_kept_in_bfloat16_takes_half_the_memory_and_teaches_the_same(tmp_path, offload):
    def made(name, **settings):
        teacher = tiny(1)
        nn.init.normal_(teacher.net.last.weight, std=0.3)
        config = TrainConfig(steps=20, batch=32, log_every=5, **settings)
        return Training(
            Copied(), Progress, tiny(), teacher, DATA, config, tmp_path / name, Accelerator(cpu=True)
        )

    whole, half = made("whole"), made("half", teacher_dtype="bfloat16", offload=offload)
    size = [sum(p.nbytes for p in run.frozen["teacher"].parameters()) for run in (whole, half)]
    assert size[0] == 2 * size[1]
    for net in (half.student, half.average, half.targets["slow"], half.trained["discriminator"]):
        assert {p.dtype for p in net.parameters()} == {torch.float32}
    finish(whole), finish(half)
    one, two = (log_of(tmp_path / name) for name in ("whole", "half"))
    assert one != two
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.03)
