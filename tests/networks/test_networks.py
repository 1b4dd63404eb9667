"""All networks: labels, half precision and messages."""

from copy import deepcopy

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.networks import MLP, dit, mlp, unet
from fastdiff.training.placement import halve
from tests.helpers.tensors import f64

SMALL = {"channels": (8, 16), "layers": 1, "groups": 4}


@pytest.mark.parametrize("make", [lambda: unet((1, 8, 8), 3, **SMALL).eval(), lambda: mlp((2,), 3, width=16)])
def test_no_label_is_the_null_label(make):
    torch.manual_seed(0)
    net = make()
    if isinstance(net, MLP):
        torch.nn.init.normal_(net.last.weight)
    x, t = torch.randn(4, *((2,) if isinstance(net, MLP) else (1, 8, 8))), torch.full((4,), 10.0)
    assert net.null_label == 3
    say = lambda label: net(x, t, None, {"label": torch.full((4,), label)})  # noqa: E731
    assert torch.equal(net(x, t), say(3))
    assert all(not torch.allclose(net(x, t), say(label), atol=1e-4) for label in range(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp((2,), 3, width=32),
        lambda: unet((1, 8, 8), 3, **SMALL),
        lambda: dit((1, 8, 8), 3, depth=2, width=16, heads=2),
    ],
    ids=["mlp", "unet", "dit"],
)
@pytest.mark.parametrize("more", [(), ("two",), ("guided",), ("two", "guided")], ids=" ".join)
def test_a_network_kept_in_bfloat16_answers_nearly_the_same(make, more):
    """Half of the memory, its times apart, and a gradient of x."""
    torch.manual_seed(0)
    net = make()
    net = net.with_second_time() if "two" in more else net
    net = net.with_guidance() if "guided" in more else net
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3 if p.ndim < 2 else p[0].numel() ** -0.5)
    shape = (2,) if isinstance(net, MLP) else (1, 8, 8)
    whole = Denoiser(net, DDPM(), "v", shape, two_times="two" in more).eval().requires_grad_(False)
    half = deepcopy(whole)
    halve(half)
    assert sum(p.nbytes for p in half.parameters()) * 2 == sum(p.nbytes for p in whole.parameters())
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    x, cond = (
        torch.randn(4, *shape),
        {"label": torch.arange(4), "guidance": torch.tensor([1.0, 2.0, 3.0, 4.0])},
    )
    near = []
    for t in (f64(1000.0), f64(999.0), f64([3.0, 500.0, 998.0, 999.0])):
        one, two = (model.raw(x, t, t / 2, cond) for model in (whole, half))
        assert two.dtype == torch.float32 and (one - two).norm() < 0.03 * one.norm() > 0
        near.append(two)
    assert not torch.equal(*near[:2])
    x.requires_grad_()
    slope, other = (
        torch.autograd.grad(model(x, t, t / 2, cond).x0.square().sum(), x)[0] for model in (whole, half)
    )
    assert (slope - other).norm() < 0.1 * slope.norm()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: unet((2,)), r"unet: expected images \(C, H, W\), but the data have shape \(2,\); use mlp"),
        (
            lambda: unet((1, 28, 28), channels=(8, 8, 8, 8)),
            "channels: 4 resolutions need sides divisible by 8, the images are 28 x 28",
        ),
        (
            lambda: unet((1, 8, 6), channels=(8, 8, 8)),
            "channels: 3 resolutions need sides divisible by 4, the images are 8 x 6",
        ),
        (lambda: unet((1, 8, 8), channels=(8, 12)), "12 is not a multiple of the 8 groups"),
        (lambda: unet((1, 8, 8), channels=(8, 16), head=12), "head = 12: expected a divisor of 16"),
        (
            lambda: mlp((1, 8, 8)),
            r"mlp: expected vectors \(D,\), but the data have shape \(1, 8, 8\); use unet",
        ),
    ],
)
def test_misfits_are_refused(build, message):
    with pytest.raises(FastdiffError, match=message):
        build()
