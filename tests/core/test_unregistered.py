"""A module held by another that is no part of it."""

from copy import deepcopy

from torch import nn

from fastdiff.core.unregistered import Unregistered


def test_a_held_module_is_no_submodule_and_copies_share_it():
    owner, held = nn.Linear(2, 2), nn.Linear(3, 3)
    owner.held = Unregistered(held)
    assert set(owner.state_dict()) == {"weight", "bias"} and len(list(owner.parameters())) == 2
    copy = deepcopy(owner)
    assert copy.held.value is held and copy.weight is not owner.weight
