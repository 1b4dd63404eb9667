"""Where networks are held: activations computed again, half the memory of a teacher, layers in turn."""

from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.methods import Progress
from fastdiff.networks import unet
from fastdiff.training.loop import TrainConfig, Training
from fastdiff.training.placement import copy_while_evaluated, data_parallel, distribute, gather_shards
from tests.helpers.tiny_training import DATA, Duel, finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


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
    with pytest.raises(
        FastdiffError, match="gradient_checkpointing: expected a unet, MLP does not support it"
    ):
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


def test_a_layer_is_evaluated_with_what_is_stored_and_keeps_nothing_else():
    layer = nn.Linear(2, 1)
    own, stored = list(layer.parameters()), [torch.tensor([[1.0, 2.0]]), torch.tensor([5.0])]
    copy_while_evaluated(own, stored, layer, torch.device("cpu"))
    assert layer(torch.tensor([[10.0, 100.0]])).tolist() == [[215.0]]

    def replaced(*_):
        own[0].data = torch.zeros(1, 2)

    layer.register_forward_pre_hook(replaced)
    assert layer(torch.tensor([[10.0, 100.0]])).tolist() == [[5.0]]
    assert [p.data_ptr() for p in own] == [value.data_ptr() for value in stored]


def test_what_is_whole_stays_as_it_is():
    net, value = nn.Linear(2, 2), torch.ones(2, 2)
    assert gather_shards(value) is value and distribute(value, net.weight) is value
    assert data_parallel(net, Accelerator(cpu=True)) is net
