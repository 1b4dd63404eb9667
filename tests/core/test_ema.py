"""Averages of weights: the ramp, the update, and what a training exports."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from fastdiff.core import ema


class Net(nn.Module):
    def __init__(self, value, count):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("count", torch.tensor(count))


def test_the_decay_ramps_up_to_its_value():
    decays = [ema.decay_at(0.999, n) for n in range(20000)]
    assert decays[:3] == [1 / 10, 2 / 11, 3 / 12]
    assert all(a <= b for a, b in zip(decays, decays[1:], strict=False))
    assert decays[-1] == 0.999 and decays[1000] < 0.999
    assert ema.decay_at(0.0, 0) == ema.decay_at(0.0, 10**6) == 0.0


def test_an_update_moves_parameters_by_the_decay_and_copies_buffers():
    average, net = Net(1.0, 3), Net(2.0, 7)
    ema.update(average, net, 0.75)
    assert average.weight.tolist() == [1.25] * 3 and average.count == 7
    assert net.weight.tolist() == [2.0] * 3 and average.weight.grad_fn is None


def test_decay_zero_is_a_copy_to_the_last_bit():
    torch.manual_seed(0)
    average, net = nn.Linear(50, 50), nn.Linear(50, 50)
    ema.update(average, net, ema.decay_at(0.0, 5))
    assert torch.equal(average.weight, net.weight) and torch.equal(average.bias, net.bias)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_is_the_sum_it_says(decay):
    """After n updates every past net counts with its product of decays; the weights sum to one."""
    torch.manual_seed(0)
    nets = [nn.Linear(4, 4).double() for _ in range(30)]
    average = deepcopy(nets[0])
    for n, net in enumerate(nets):
        ema.update(average, net, ema.decay_at(decay, n))
    shares, left = [], 1.0
    for n in reversed(range(30)):
        shares.append(left * (1 - ema.decay_at(decay, n)))
        left *= ema.decay_at(decay, n)
    shares[-1] += left  # what is left of the initial weights, which were net 0's
    wanted = sum(share * net.weight for share, net in zip(shares, reversed(nets), strict=True))
    torch.testing.assert_close(average.weight, wanted)
