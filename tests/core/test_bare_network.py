"""Functions and modules with another call than net(x, t, s, cond) serve as networks."""

import pytest
import torch
from torch import nn

import fastdiff
from fastdiff.core.bare_network import as_network
from fastdiff.core.errors import FastdiffError

COSINE = fastdiff.SCHEDULES["cosine"]()


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x, t):
        return self.layer(x)


def test_a_module_of_two_arguments_is_sampled():
    net = Plain()
    model = fastdiff.Denoiser(net, COSINE, "v", shape=(2,))
    assert fastdiff.sample(model, "ddim", steps=2, n=3).shape == (3, 2)
    assert net.layer.weight in set(model.parameters())


@pytest.mark.parametrize(
    "net, seen",
    [
        (lambda x: x, "x"),
        (lambda x, t: x + 0 * t[:, None], "xt"),
        (lambda sample, timestep, cond: cond["label"][:, None] + x0(sample), "cond"),
        (lambda x, t, s: x + s[:, None], "s"),
        (lambda x, t, s, cond: x, "all"),
        (lambda *arguments: arguments[0], "any"),
    ],
)
def test_functions(net, seen):
    wrapped = as_network(net, (2,))
    x, t = torch.ones(3, 2), torch.zeros(3)
    assert wrapped(x, t, torch.ones(3), {"label": torch.ones(3)}).shape == (3, 2)


def x0(x):
    return 0 * x


def test_a_network_of_four_arguments_is_kept():
    net = fastdiff.networks.mlp((2,), width=4, depth=1)
    assert as_network(net, (2,)) is net


@pytest.mark.parametrize("net", [lambda x, t, y: x, lambda: None])
def test_other_arguments_are_refused_with_the_way_to_wrap_them(net):
    with pytest.raises(FastdiffError, match=r"expected net\(x, t\) or net\(x, t, s, cond\); wrap it"):
        as_network(net, (2,))
    with pytest.raises(FastdiffError, match="expected a module or function"):
        as_network("net", (2,))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_wrong_number_of_channels_is_never_broadcast(channels):
    model = fastdiff.Denoiser(nn.Conv2d(3, channels, 1), COSINE, "v", shape=(3, 4, 4))
    for call in (lambda: fastdiff.sample(model, steps=1, n=2), lambda: model.raw(*noised())):
        with pytest.raises(FastdiffError, match=rf"output has shape \(2, {channels}, 4, 4\): expected"):
            call()


def noised():
    return torch.zeros(2, 3, 4, 4), torch.full((2,), 0.5, dtype=torch.float64)


def test_an_output_that_is_no_tensor_is_named():
    model = fastdiff.Denoiser(lambda x, t: (x,), COSINE, "v", shape=(2,))
    with pytest.raises(FastdiffError, match="returned a tuple: expected a tensor"):
        fastdiff.sample(model, steps=1, n=2)
