"""Networks with another call than net(x, t, s, cond): functions and modules net(x, t), and diffusers' own."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from .condition import Cond
from .errors import FastdiffError
from .network import Network, network_name
from .public_arguments import Openers

CALL = ("x", "t", "s", "cond")
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class BareNetwork(Network):
    """A function or module of fewer arguments, such as net(x, t), behind net(x, t, s, cond).

    Args:
        function: function or module of the arguments in `taken`, by position.
        taken: the arguments that it takes, among x, t, s and cond.
    """

    def __init__(self, function: Callable[..., Tensor], taken: tuple[str, ...]) -> None:
        super().__init__()
        self.function = function
        self.taken = taken

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        given = {"x": x, "t": t, "s": s, "cond": cond}
        return self.function(*(given[name] for name in self.taken))


def as_network(net: Any, shape: tuple[int, ...] | None) -> nn.Module:
    """Return a network with the call net(x, t, s, cond).

    Args:
        net: a Network; a module or function of four arguments, or of x, (x, t), (x, t, s) or (x, t, cond);
            or a network of diffusers.
        shape: shape of one sample; None if unknown.

    Raises:
        FastdiffError: for something that cannot be called, or takes other arguments.
    """
    if isinstance(net, Network):
        return net
    if type(net).__module__.startswith("diffusers."):
        return Openers.network(net, shape)
    if not callable(net):
        raise FastdiffError(f"net = {net!r:.80}: expected a module or function net(x, t, s, cond)")
    taken = arguments_of(net)
    if taken is None or len(taken) >= len(CALL):
        return net if isinstance(net, nn.Module) else BareNetwork(net, CALL)
    if not taken or not set(taken[2:]) <= {"s", "cond"}:
        raise FastdiffError(
            f"net: {network_name(net)} takes ({', '.join(taken)}): expected net(x, t) or net(x, t, s, cond); "
            "wrap it, such as lambda x, t, s, cond: net(x, t, cond['label'])"
        )
    return BareNetwork(net, (*CALL[: min(2, len(taken))], *taken[2:]))


def arguments_of(net: Callable[..., Tensor]) -> list[str] | None:
    """Return the names of the arguments that a network takes by position; None if it takes any number."""
    call = net.forward if isinstance(net, nn.Module) else net
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # a built-in function
        return None
    if any(parameter.kind in VARIABLE for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
