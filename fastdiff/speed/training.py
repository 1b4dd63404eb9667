"""What a training step adds to the bare passes of its networks, which are counted by watching one step."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import Accelerator
from rich.table import Column, Table
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from .. import heap
from ..data import Dataset
from ..denoiser import Cond, Denoiser
from ..errors import FastdiffError
from ..methods import METHODS, Method, Progress
from ..methods.base import jvp
from ..settings import call, spelled
from ..train import TrainConfig, Training
from .clock import batch_of, in_turn

PASS = 0.05                                        # seconds a forward pass should last at least
EXAMPLES = 4096                                    # of noise, in the place of data


class Pass:
    """A pass of a role's network as a step made it; called, it is made again, alone."""

    def __init__(self, role: str, net: nn.Module, x: Tensor, t: Tensor, s: Tensor | None, cond: Cond):
        (x, x_tangent), (t, t_tangent) = unpack_dual(x), unpack_dual(t)
        self.role, self.net, self.rest = role, net, (s, cond)
        self.point, self.tangent = (x.detach().requires_grad_(x.requires_grad), t.detach()), (x_tangent, t_tangent)
        self.weights = [p for p in net.parameters() if p.requires_grad]
        self.led_back = False                      # a gradient came back through it

    @property
    def kind(self) -> str:
        if self.tangent[0] is not None:
            return "jvp"
        return "fwd" if not self.led_back else "fwd+bwd" if self.weights else "fwd+bwd to x"

    def __str__(self) -> str:
        return f"{self.role} {self.kind} {len(self.point[0])}"

    def __call__(self) -> None:
        x, t = self.point
        if self.kind == "jvp":
            jvp(lambda x, t: self.net(x, t, *self.rest), self.point, self.tangent)
        elif self.led_back:
            wanted = [leaf for leaf in (x, *self.weights) if leaf.requires_grad]
            torch.autograd.grad(self.net(x, t, *self.rest).sum(), wanted, allow_unused=True)
        else:
            with torch.no_grad():
                self.net(x, t, *self.rest)


def passes_of(training: Training, step: Callable[[], Any]) -> list[Pass]:
    """Every pass through a network of x, t, s and cond that a step makes."""
    found: list[Pass] = []

    def watch(role: str) -> Callable:
        def hook(net: nn.Module, inputs: tuple, output: Tensor) -> None:
            found.append(seen := Pass(role, net, *inputs))
            if output.requires_grad:
                output.register_hook(lambda gradient: setattr(seen, "led_back", True))
        return hook

    with ExitStack() as watched:
        for role, model in (training.frozen | training.trained).items():
            if isinstance(model, Denoiser):        # a learned weighting is the method's own work
                watched.enter_context(model.net.register_forward_hook(watch(role)))
        step()
    return found


def noise(model: Denoiser, paired: bool) -> Dataset:
    """Noise in the place of data, and of pairs: what a step costs does not depend on them."""
    shape, classes = (EXAMPLES, *model.shape), getattr(model.net, "null_label", None) or 0
    examples = torch.randint(0, 256, shape).to(torch.uint8) if len(model.shape) == 3 else torch.randn(shape)
    labels = torch.randint(0, classes, (EXAMPLES,)) if classes else None
    return Dataset("noise", examples, labels, classes, torch.randn(shape) if paired else None)


def begun(method: Method, model: Denoiser, batch: int, folder: Path) -> Training:
    """A training of the method with its own settings, from the model and by it."""
    method.ready(model.shape, model.device)
    student, teacher = method.student(deepcopy(model)), deepcopy(model) if method.teaches else None
    for net in (student, teacher) if teacher else (student,):
        net.sampling = method.sampling()           # some methods learn from an earlier stage of their own kind alone
    config = TrainConfig(batch=batch, **method.training)
    return Training(method, Progress, student, teacher, noise(model, method.paired), config, folder,
                    Accelerator(cpu=model.device.type == "cpu"))


def cost(method: Method, model: Denoiser, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a whole step and of its passes alone. It is one step halfway, again and again, with all its draws."""
    with heap.kept(), TemporaryDirectory() as folder:
        training = begun(method, model, batch, Path(folder))
        halfway = training.config.steps // 2

        def again() -> Callable[[], Any]:
            training.step, training.images = halfway, halfway * batch
            return training.advance

        again()()                                  # optimizers make their state in the first step
        passes = passes_of(training, again())
        step, parts = in_turn([again, lambda: lambda: [one() for one in passes]], repeats)
        training.accelerator.free_memory()
    return {"parts": ", ".join(f"{count} {one}" for one, count in Counter(map(str, passes)).items()),
            "step_ms": 1000 * step, "parts_ms": 1000 * parts, "over_parts": step / parts}


def speed(model: Denoiser, methods: tuple[str, ...] = (), repeats: int = 10) -> Iterator[dict[str, Any]]:
    """A row a method, as `ect` or `meanflow[differences=0.03]`, all if none is named; or why there is none of it.

    The batch is doubled from 16 until a forward pass lasts 50 ms.
    """
    chosen = {name: call(METHODS, *spelled(name, "--methods"), "--methods") for name in methods or distinct()}
    batch, forward = batch_of(model, 16, PASS)
    for name, method in chosen.items():
        try:
            yield {"method": name, "batch": batch, "forward_ms": 1000 * forward, **cost(method, model, batch, repeats)}
        except FastdiffError as error:
            yield {"method": name, "left_out": str(error)}


def distinct() -> list[str]:
    """The methods, each by the first of its names."""
    names: dict[type[Method], str] = {}
    for name, kind in METHODS.items():
        names.setdefault(kind, name)
    return list(names.values())


def line(row: dict[str, Any]) -> str:
    """A row in a line."""
    return f"{row['method']} is left out: {row['left_out']}" if "left_out" in row else (
        f"{row['method']}  {row['over_parts']:.3f}")


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    shown = Table("Method", "Parts", *(Column(name, justify="right") for name in ("ms a step", "ms of its parts", "ratio")))
    for row in rows:
        if "left_out" not in row:
            shown.add_row(row["method"], row["parts"].replace(", ", "\n"), f"{row['step_ms']:.0f}", f"{row['parts_ms']:.0f}",
                          f"{row['over_parts']:.3f}")
    return shown
