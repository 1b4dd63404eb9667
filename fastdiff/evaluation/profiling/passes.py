"""The passes through networks in a training step, recorded and repeated by themselves."""

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

Call = tuple[nn.Module, int]  # a layer, and the index of the call among its calls in a pass


class Pass:
    """A recorded pass through the network of a role; calling it repeats the pass by itself.

    Args:
        role: name of the network.
        net: network.
        arguments: positional and keyword arguments of its call.

    Attributes:
        leaves: tensors among the arguments.
        tangents: tangents of leaves, by the id of the leaf.
        calls: calls of layers, in order.
        ways: for each backward pass the call at which it entered: discriminators take features from the
            middle of the network.
        curved: indices of the backward passes whose gradient is differentiated in the next one, as in
            gradient penalties.
    """

    def __init__(self, role: str, net: nn.Module, arguments: tuple[tuple, dict[str, Any]]) -> None:
        self.role = role
        self.net = net
        self.leaves: list[Tensor] = []
        self.tangents: dict[int, Tensor] = {}
        self.arguments = recursively_apply(self.detach_argument, arguments)
        self.weights = [p for p in net.parameters() if p.requires_grad]
        self.calls: list[Call] = []
        self.ways: list[Call] = []
        self.reached = 0  # index of the call that the gradient reached last
        self.curved: set[int] = set()

    def detach_argument(self, value: Tensor) -> Tensor:
        """Return a detached tensor of the arguments, and record its tangent, if it has one."""
        value, tangent = unpack_dual(value)
        self.leaves.append(value.detach().requires_grad_(value.requires_grad))
        if tangent is not None:
            self.tangents[id(self.leaves[-1])] = tangent
        return self.leaves[-1]

    def record_call(self, layer: nn.Module, inputs: tuple, output: Any) -> None:
        """Record a layer's call, and the gradients that reach its output unless that is one of its inputs."""
        number = len(self.calls)
        self.calls.append((layer, sum(layer is other for other, _ in self.calls)))
        if isinstance(output, Tensor) and output.requires_grad and not any(output is one for one in inputs):
            output.register_hook(lambda slope: self.record_gradient(number, slope))

    def record_gradient(self, number: int, slope: Tensor) -> None:
        """Record that a gradient reached a call: of a new backward pass, unless it came from a later call."""
        if not self.ways or number >= self.reached:
            self.ways.append(self.calls[number])
        self.reached = number
        if slope.requires_grad:
            self.curved.add(len(self.ways) - 1)

    @property
    def kind(self) -> str:
        """The kind of pass: fwd, fwd+bwd, fwd+bwd to x, fwd+2 bwd of bwd, jvp."""
        if self.tangents:
            return "jvp"
        if not self.ways:
            return "fwd"
        back = "bwd" if len(self.ways) == 1 else f"{len(self.ways)} bwd"
        if self.curved:
            back += " of bwd"
        return f"fwd+{back}" if self.weights else f"fwd+{back} to x"

    def __str__(self) -> str:
        return f"{self.role} {self.kind} {len(self.leaves[0])}"

    def __call__(self) -> None:
        """Repeat the pass, forward and backward as recorded."""
        if self.tangents:
            moved = [leaf for leaf in self.leaves if id(leaf) in self.tangents]
            jvp(self.run_forward, tuple(moved), tuple(self.tangents[id(leaf)] for leaf in moved))
        elif self.ways:
            self.run_forward_and_backward()
        else:
            with torch.no_grad():
                self.run_forward()

    def run_forward(self, *moved: Tensor) -> Tensor:
        """Return the network's output, with `moved` in place of the leaves with tangents."""
        rest = iter(moved)

        def replaced(leaf: Tensor) -> Tensor:
            return next(rest) if moved and id(leaf) in self.tangents else leaf

        inputs, options = recursively_apply(replaced, self.arguments)
        return self.net(*inputs, **options)

    def run_forward_and_backward(self) -> None:
        """Run the forward pass, and every backward pass from the call at which it entered."""
        outputs: dict[Call, Tensor] = {}
        counts: Counter[nn.Module] = Counter()

        def keep(layer: nn.Module, _: Any, output: Tensor) -> None:
            outputs[layer, counts[layer]] = output
            counts[layer] += 1

        with ExitStack() as hooks:
            for layer in {layer for layer, _ in self.ways}:
                hooks.enter_context(layer.register_forward_hook(keep))
            self.run_forward()
        leaves = [leaf for leaf in self.leaves if leaf.requires_grad]
        penalty = outputs[self.ways[0]].new_zeros(())
        for number, way in enumerate(self.ways):
            curved = number in self.curved
            slopes = torch.autograd.grad(
                outputs[way].sum() + penalty,
                leaves if curved else [*leaves, *self.weights],
                retain_graph=number + 1 < len(self.ways),
                create_graph=curved,
                allow_unused=True,
            )
            if curved:
                penalty = sum(slope.square().sum() for slope in slopes if slope is not None)
            else:
                penalty = penalty.detach()


def passes_of(training: Training, step: Callable[[], Any]) -> list[Pass]:
    """Return every pass of a training step through a network with weights, denoiser or discriminator.

    Args:
        training: training whose networks are watched.
        step: function that runs one of its steps.
    """
    passes: list[Pass] = []
    with ExitStack() as hooks:
        for role, model in (training.frozen | training.trained).items():
            net = model.net if isinstance(model, Denoiser) else model
            if next(net.parameters(), None) is not None:
                watch(role, net, passes, hooks)
        step()
    return passes


def watch(role: str, net: nn.Module, passes: list[Pass], hooks: ExitStack) -> None:
    """Record the passes of a network and the calls of its innermost layers, until `hooks` are closed."""
    own: list[Pass] = []

    def begin(_: nn.Module, inputs: tuple, options: dict[str, Any]) -> None:
        own.append(Pass(role, net, (inputs, options)))
        passes.append(own[-1])

    hooks.enter_context(net.register_forward_pre_hook(begin, with_kwargs=True))
    for layer in net.modules():
        if next(layer.children(), None) is None:
            hooks.enter_context(layer.register_forward_hook(lambda *call: own[-1].record_call(*call)))
