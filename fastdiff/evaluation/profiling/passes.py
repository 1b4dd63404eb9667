"""Passes through networks: as a step makes them, and each made again alone."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from accelerate.utils import recursively_apply
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from ...core.denoiser import Denoiser
from ...methods.jvp import jvp
from ...training.loop import Training

Call = tuple[nn.Module, int]  # a layer, and which of its calls in a pass


class Pass:
    """A pass of a role's network as a step made it; called, it is made again, alone.

    given: the tensors that it was given, in whatever they came; tangents: of some of them, by their id.
    ways: for every way that a gradient took back through it, the layer where that came in: critics ask for features.
    curved: numbers of the ways of which the next takes a gradient in its turn, as penalties of a gradient do.
    """

    def __init__(self, role: str, net: nn.Module, given: tuple[tuple, dict[str, Any]]) -> None:
        self.role, self.net = role, net
        self.leaves: list[Tensor] = []
        self.tangents: dict[int, Tensor] = {}
        self.given = recursively_apply(self.taken, given)
        self.weights = [p for p in net.parameters() if p.requires_grad]
        self.calls: list[Call] = []
        self.ways: list[Call] = []
        self.curved: set[int] = set()

    def taken(self, value: Tensor) -> Tensor:
        """A tensor as it was given, of which nothing leads back to where it came from."""
        value, tangent = unpack_dual(value)
        self.leaves.append(value.detach().requires_grad_(value.requires_grad))
        if tangent is not None:
            self.tangents[id(self.leaves[-1])] = tangent
        return self.leaves[-1]

    def passed(self, layer: nn.Module, inputs: tuple, output: Any) -> None:
        """A layer was called, and may be led back through; one that hands on what it was given is passed over."""
        number = len(self.calls)
        self.calls.append((layer, sum(layer is other for other, _ in self.calls)))
        if isinstance(output, Tensor) and output.requires_grad and not any(output is one for one in inputs):
            output.register_hook(lambda slope: self.led_back(number, slope))

    def led_back(self, number: int, slope: Tensor) -> None:
        """A gradient has come to the layer that was called so early: on its way if to later ones before, else anew."""
        if not self.ways or number >= self.reached:
            self.ways.append(self.calls[number])
        self.reached = number
        if slope.requires_grad:
            self.curved.add(len(self.ways) - 1)

    @property
    def kind(self) -> str:
        if self.tangents:
            return "jvp"
        back = "bwd" if len(self.ways) == 1 else f"{len(self.ways)} bwd"
        back += " of bwd" if self.curved else ""
        return f"fwd+{back}{'' if self.weights else ' to x'}" if self.ways else "fwd"

    def __str__(self) -> str:
        return f"{self.role} {self.kind} {len(self.leaves[0])}"

    def __call__(self) -> None:
        if self.tangents:
            moved = [leaf for leaf in self.leaves if id(leaf) in self.tangents]
            jvp(self.forth, tuple(moved), tuple(self.tangents[id(leaf)] for leaf in moved))
        elif self.ways:
            self.forth_and_back()
        else:
            with torch.no_grad():
                self.forth()

    def forth(self, *moved: Tensor) -> Tensor:
        """The network's output, of these in the place of what had tangents."""
        rest = iter(moved)
        inputs, options = recursively_apply(
            lambda leaf: next(rest) if moved and id(leaf) in self.tangents else leaf, self.given
        )
        return self.net(*inputs, **options)

    def forth_and_back(self) -> None:
        """Forward, and every way back from where it began."""
        outputs: dict[Call, Tensor] = {}
        counts: Counter[nn.Module] = Counter()

        def keep(layer: nn.Module, _: Any, output: Tensor) -> None:
            outputs[layer, counts[layer]] = output
            counts[layer] += 1

        with ExitStack() as hooks:
            for layer in {layer for layer, _ in self.ways}:
                hooks.enter_context(layer.register_forward_hook(keep))
            self.forth()
        leaves, penalty = (
            [leaf for leaf in self.leaves if leaf.requires_grad],
            outputs[self.ways[0]].new_zeros(()),
        )
        for number, way in enumerate(self.ways):
            curved = number in self.curved
            slopes = torch.autograd.grad(
                outputs[way].sum() + penalty,
                leaves if curved else [*leaves, *self.weights],
                retain_graph=number + 1 < len(self.ways),
                create_graph=curved,
                allow_unused=True,
            )
            penalty = (
                sum(slope.square().sum() for slope in slopes if slope is not None)
                if curved
                else penalty.detach()
            )


def passes_of(training: Training, step: Callable[[], Any]) -> list[Pass]:
    """Every pass that a step makes through a network with weights, be it of x, t, s and cond, or of features."""
    found: list[Pass] = []
    with ExitStack() as watched:
        for role, model in (training.frozen | training.trained).items():
            net = model.net if isinstance(model, Denoiser) else model
            if next(net.parameters(), None) is not None:
                watch(role, net, found, watched)
        step()
    return found


def watch(role: str, net: nn.Module, found: list[Pass], watched: ExitStack) -> None:
    """Note the passes of one network, as long as it is watched, and of its layers that have none within."""
    own: list[Pass] = []

    def begin(_: nn.Module, inputs: tuple, options: dict[str, Any]) -> None:
        own.append(Pass(role, net, (inputs, options)))
        found.append(own[-1])

    watched.enter_context(net.register_forward_pre_hook(begin, with_kwargs=True))
    for layer in net.modules():
        if next(layer.children(), None) is None:
            watched.enter_context(layer.register_forward_hook(lambda *call: own[-1].passed(*call)))
