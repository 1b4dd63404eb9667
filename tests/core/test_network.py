"""The interface of networks: defaults, and modules that have none of it."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.network import PLAIN_NETWORK, Network, interface_of
from fastdiff.core.schedule import Flow


class Labelled(Network):
    """A network of ten classes and a null class, conditioned on grey images."""

    null_label = 10
    condition_channels = 1

    def forward(self, x, t, s=None, cond=None):
        return x


class Plain(nn.Module):
    """A module with a network's call, and nothing else."""

    null_label = 3  # which counts only where the interface is declared

    def forward(self, x, t, s=None, cond=None):
        return x


def model(net):
    return Denoiser(net, Flow(), "velocity", (2,))


def test_what_a_network_declares_is_what_its_model_says():
    declared, plain = model(Labelled()), model(Plain())
    assert (declared.null_label, declared.classes, declared.condition_channels) == (10, 10, 1)
    assert (plain.null_label, plain.classes, plain.condition_channels) == (None, None, 0)
    assert not plain.learned_variance and plain.interface is PLAIN_NETWORK
    assert torch.equal(plain(torch.ones(2, 2), torch.tensor(0.5)).x, torch.ones(2, 2))


def test_a_compiled_network_keeps_its_interface():
    assert interface_of(torch.compile(Labelled())).null_label == 10


@pytest.mark.parametrize("net", [Labelled(), Plain()], ids=["network", "module"])
def test_a_network_without_a_place_for_another_input_is_named(net):
    with pytest.raises(FastdiffError, match=f"{type(net).__name__} takes no second time"):
        with_second_time(model(net))
    message = "Labelled takes no guidance weight" if net.null_label == 10 else "guidance needs a model with"
    with pytest.raises(FastdiffError, match=message):
        with_guidance(model(net), (1.0, 4.0))


def test_schedule_and_parameterization_of_a_model_are_read_only():
    """Solved coefficients are cached; another reading of the network is another model with its own cache."""
    first = model(Plain())
    t = torch.tensor(0.5, dtype=torch.float64)
    first(torch.ones(2, 2), t)
    for name, value in (("predicts", "v"), ("schedule", Flow(shift=3.0)), ("sigma_data", 0.5)):
        with pytest.raises(AttributeError):
            setattr(first, name, value)
    second = first.reparameterized("x0", 0.5)
    assert (second.predicts, second.sigma_data, second.net) == ("x0", 0.5, first.net)
    assert torch.equal(second(torch.ones(2, 2), t).x0, torch.ones(2, 2))
