"""Times of works in turn: the least of each, without its preparation."""

import time

import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.profiling.timer import batch_of, in_turn, network_only
from fastdiff.networks import mlp


def work_for(seconds):
    """Keep the processor at work: its seconds are no more than those of the clock."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_works_take_turns_and_their_preparation_is_free():
    calls, first = [], [0.03]

    def costly():
        calls.append("costly")
        seconds = 0.01 + (first.pop() if first else 0)
        return lambda: work_for(seconds)

    def prepared():
        calls.append("prepared")
        work_for(0.02)
        return lambda: None

    slow, quick = in_turn([costly, prepared], 3)
    assert calls == ["costly", "prepared"] * 3
    assert 0.01 <= slow < 0.04 and quick < 0.01  # the first, which takes four times as long, is not the least


def test_bare_passes_are_of_the_network_alone():
    model, seen = Denoiser(mlp((2,), width=8, depth=1), Cosine(), "v", (2,)), []
    model.net.register_forward_hook(lambda net, inputs, output: seen.append(inputs[0].shape))
    network_only(model, 5, 3)()()
    assert seen == [torch.Size([5, 2])] * 3


def test_a_batch_is_doubled_until_a_pass_is_long_enough():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x, t, s=None, cond=None):
            work_for(1e-3 * len(x))
            return self.weight * x

    model = Denoiser(Counts(), Cosine(), "v", (2,))
    assert batch_of(model, 3, 0.0)[0] == 3
    batch, seconds = batch_of(model, 3, 0.01)
    assert batch == 12 and seconds >= 0.012
