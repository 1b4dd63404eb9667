"""The state of one network by name: without what never changes, and back again."""

import pytest
import torch
from torch import nn

from fastdiff.training.weights import changing, load_changing, with_prefix, without_prefix


def net(value):
    made = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for p in made.parameters():
        nn.init.constant_(p, value)
    return made


def test_names_below_a_prefix_come_back_without_it():
    one, two = {"a.b": torch.ones(1)}, {"a.b": torch.zeros(1)}
    both = with_prefix("net", one) | with_prefix("network", two)
    assert set(both) == {"net.a.b", "network.a.b"}
    assert (
        without_prefix("net", both) == one
        and without_prefix("network", both) == two
        and without_prefix("ne", both) == {}
    )


def test_what_is_left_out_stays_as_it_was():
    left = {"0.weight"}
    state = changing(net(1.0), left)
    assert set(state) == set(net(0.0).state_dict()) - left and "1.running_mean" in state
    other = net(5.0)
    load_changing(other, state, left)
    assert (other[0].weight == 5).all() and (other[0].bias == 1).all() and (other[1].weight == 1).all()


def test_a_state_that_lacks_a_tensor_is_an_error():
    state = changing(net(1.0))
    del state["0.bias"]
    with pytest.raises(KeyError, match="0.bias"):
        load_changing(net(0.0), state)
