"""Derivatives of networks: Jacobian-vector products, and the derivative in time along a path of noise."""

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
    """Two times (B,) of a difference quotient, and how far the clock goes between them (B,)."""

    before: Tensor
    after: Tensor
    stride: Tensor


def preserve_rng_state(x: Tensor) -> AbstractContextManager:
    """Restore the state of torch's random numbers on exit, so that two passes use the same dropout masks.

    Args:
        x: a tensor on the device whose generator is restored besides the CPU's.
    """
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def jvp(
    function: Callable[..., Tensor], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return a function's value and its derivative along the tangents, by forward differentiation.

    Nothing is computed below float32, no gradients are kept, and attention takes its plain formula, whose
    faster forms have no forward derivative. (torch.func.jvp, which does the same, takes a sixth longer.)
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
    """Return d function / d clock along a path of constant (x0, eps), for any clock of the time.

    Args:
        function: of x_t (B, ...) and t (B,).
        schedule: that x_t = alpha x0 + sigma eps follows.
        path: the pair (x0, eps).
        t: times (B,) of the derivative.
        rate: dt / d clock (B,) at t, for the exact derivative.
        neighbours: take the difference between these times in the place of the exact derivative. Dropout is
            the same at both.

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
