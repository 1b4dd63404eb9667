"""The interface of networks: declarations about inputs and outputs, with defaults."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import nn

from .errors import FastdiffError


@dataclass(frozen=True)
class Blueprint:
    """The way in which a network of a plugin was built, with which it is built again.

    Args:
        name: registered name, a key of networks.NETWORKS.
        options: its settings, as plain data.
        classes: number of classes; 0 for a network without labels.
        added: methods of Network that were called since, such as with_second_time, in their order.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    classes: int = 0
    added: tuple[str, ...] = ()


class Network(nn.Module):
    """A network net(x, t, s, cond); a subclass overrides the defaults in which it differs.

    A Denoiser takes any module with this call. A module that is not a Network is taken to have no classes,
    no condition images and no learned variance.

    Attributes:
        kind: name of the network in fastdiff.json; None if it has no file format.
        folder: name of its folder in a diffusers pipeline.
        null_label: the class that stands for no class; None if the network has no such class.
        condition_channels: number of channels of the condition image; 0 if the network takes no image.
        learned_variance: whether the second half of the output channels is the variance of a reverse step.
        blueprint: how it was built, for a plugin's network that `networks.build` made; None for others.
    """

    kind: ClassVar[str | None] = None
    folder: ClassVar[str | None] = None
    null_label: int | None = None
    condition_channels: int = 0
    learned_variance: bool = False
    blueprint: Blueprint | None = None

    @property
    def num_classes(self) -> int | None:
        """The number of classes that it takes as labels; None if it takes no labels."""
        return self.null_label

    def with_second_time(self) -> Self:
        """Return a copy that also takes a second time s; until it is trained, its output ignores s."""
        raise no_such_input(self, "second time")

    def with_guidance(self) -> Self:
        """Return a copy that also takes a guidance weight; until it is trained, its output ignores it."""
        raise no_such_input(self, "guidance weight")


PLAIN_NETWORK = Network()


def no_such_input(net: nn.Module, what: str) -> FastdiffError:
    """Return the error for a network that cannot be extended by another input."""
    return FastdiffError(f"{network_name(net)} takes no {what}: only fastdiff.networks can be given one")


def network_name(net: Any) -> str:
    """Return the name of a network's class, or of the function that a BareNetwork calls."""
    inner = getattr(net, "function", net)
    return getattr(inner, "__name__", type(inner).__name__)


def extended(net: Network, method: str) -> Network:
    """Return the copy that with_second_time or with_guidance makes of a network, with its blueprint.

    Args:
        net: the network.
        method: name of the method.
    """
    copy = getattr(net, method)()
    if net.blueprint:
        copy.blueprint = replace(net.blueprint, added=(*net.blueprint.added, method))
    return copy


def interface_of(net: nn.Module) -> Network:
    """Return the network itself, also if it is compiled; PLAIN_NETWORK for a module that is not a Network."""
    return net if hasattr(net, "condition_channels") else PLAIN_NETWORK
