"""The interface of networks: what a network declares about its inputs and outputs, with defaults."""

from typing import ClassVar, Self

from torch import nn

from .errors import FastdiffError


class Network(nn.Module):
    """Base class of networks net(x, t, s, cond); a subclass overrides what differs from a plain network.

    A Denoiser takes any module with that call. One that is not a Network counts as plain: without classes,
    condition images or learned variance.

    Attributes:
        kind: name of the network in fastdiff.json; None if it has no file format.
        folder: its folder in a diffusers pipeline.
        null_label: the class that stands for no class; None if there is none.
        condition_channels: channels of the image that x is conditioned on; 0 for none.
        learned_variance: whether the second half of the output channels is a reverse step's variance.
    """

    kind: ClassVar[str | None] = None
    folder: ClassVar[str | None] = None
    null_label: int | None = None
    condition_channels: int = 0
    learned_variance: bool = False

    @property
    def num_classes(self) -> int | None:
        """Number of classes that it takes as labels; None if it takes no labels."""
        return self.null_label

    def with_second_time(self) -> Self:
        """Return a copy that also takes s; until it is trained, its output does not depend on s."""
        raise no_such_input(self, "second time")

    def with_guidance(self) -> Self:
        """Return a copy that also takes a guidance weight; until it is trained, its output ignores it."""
        raise no_such_input(self, "guidance weight")


PLAIN = Network()


def no_such_input(net: nn.Module, what: str) -> FastdiffError:
    """Return the error for a network that cannot be given another input."""
    return FastdiffError(f"{type(net).__name__} takes no {what}: only fastdiff.networks can be given one")


def interface_of(net: nn.Module) -> Network:
    """Return the network itself, also if compiled, or PLAIN for a module that is not a Network."""
    return net if hasattr(net, "condition_channels") else PLAIN
