"""Derivatives of networks: Jacobian-vector products, and derivatives in time along a noise path."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core.broadcast import like
from ..core.schedule import Schedule

Pair = tuple[Tensor, Tensor]  # (x0, eps), each (B, ...)


class Neighbours(NamedTuple):
    """The two times (B,) of a difference quotient, and the difference (B,) of the clock between them."""

    before: Tensor
    after: Tensor
    stride: Tensor


def preserve_rng_state(x: Tensor) -> AbstractContextManager:
    """Restore torch's RNG state on exit, so that two forward passes use the same dropout masks.

    Args:
        x: tensor on the device whose generator is restored, in addition to the CPU's.
    """
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def jvp(
    function: Callable[..., Tensor], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return a function's value and its derivative along tangents, by forward-mode differentiation.

    Autocast is off, no gradients are kept, and attention uses its plain formula, since faster kernels have no
    forward derivative. (torch.func.jvp does the same and takes a sixth longer.)

    Args:
        function: function of the primals.
        primals: arguments of the function, (B, ...) each.
        tangents: directions, each with the shape of its primal.

    Returns:
        The value and the derivative, of the same shape.
    """
    with (
        torch.no_grad(),
        torch.autocast(primals[0].device.type, enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        dual_level(),
    ):
        return tuple(unpack_dual(function(*map(make_dual, primals, tangents))))


def directional_derivative(
    function: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    path: Pair,
    t: Tensor,
    rate: Tensor,
    neighbours: Neighbours | None = None,
) -> Tensor:
    """Return d function / d clock along the path x_t = alpha x0 + sigma eps of constant (x0, eps).

    Args:
        function: function of x_t (B, ...) and t (B,).
        schedule: schedule of the path.
        path: the pair (x0, eps).
        t: times (B,) at which the derivative is taken.
        rate: dt / d clock (B,) at t, for any function of the time as the clock.
        neighbours: two times whose difference quotient replaces the exact derivative, with the same dropout
            at both; None for the exact derivative.

    Returns:
        The derivative (B, ...), without gradients.
    """
    if neighbours is None:
        velocity = schedule.velocity(*path, t)
        return jvp(function, (schedule.mix(*path, t), t), (like(rate, velocity) * velocity, rate))[1]
    before, after, stride = neighbours
    with torch.no_grad(), torch.autocast(t.device.type, enabled=False):
        with preserve_rng_state(t):
            rise = function(schedule.mix(*path, after), after)
        rise = rise - function(schedule.mix(*path, before), before)
    return rise / like(stride, rise)
