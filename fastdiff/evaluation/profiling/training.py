"""What training adds to the bare passes of its networks, which are counted by watching a cycle of its turns."""

from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import Accelerator
from rich.table import Column, Table

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.validation import call, spelled
from ...data.registry import Dataset
from ...methods import METHODS, Method, Progress
from ...training import config as train_config
from ...training import malloc as heap
from ...training.loop import Training
from .passes import passes_of
from .timer import batch_of, in_turn

PASS = 0.05  # seconds a forward pass should last at least
EXAMPLES = 4096  # of noise, in the place of data


def noise(model: Denoiser, paired: bool) -> Dataset:
    """Noise in the place of data, and of pairs: what a step costs does not depend on them."""
    shape, classes = (EXAMPLES, *model.shape), model.null_label or 0
    examples = torch.randint(0, 256, shape).to(torch.uint8) if len(model.shape) == 3 else torch.randn(shape)
    labels = torch.randint(0, classes, (EXAMPLES,)) if classes else None
    return Dataset("noise", examples, labels, classes, torch.randn(shape) if paired else None)


def begun(method: Method, model: Denoiser, batch: int, folder: Path) -> Training:
    """A training of the method with its own settings, from the model and by it."""
    method.ready(model.shape, model.device)
    student, teacher = method.student(deepcopy(model)), deepcopy(model) if method.teaches else None
    for net in (student, teacher) if teacher else (student,):
        net.sampling = method.sampling()  # some methods learn from an earlier stage of their own kind alone
    config = train_config.read(method.training, {"batch": batch}, path="train")
    return Training(
        method,
        Progress,
        student,
        teacher,
        noise(model, method.paired),
        config,
        folder,
        Accelerator(cpu=model.device.type == "cpu"),
    )


def cost(method: Method, model: Denoiser, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step and of its passes alone, in the mean of a cycle of the method's turns.

    It is the first cycle from halfway on, again and again, with all its draws.
    """
    with heap.kept(), TemporaryDirectory() as folder:
        training = begun(method, model, batch, Path(folder))
        begin = training.config.steps // 2 // method.cycle * method.cycle

        def again() -> Callable[[], Any]:
            training.step, training.images = begin, begin * batch
            training.read_on()
            return lambda: [training.advance() for _ in range(method.cycle)]

        again()()  # optimizers make their state in the first steps
        passes = passes_of(training, again())
        step, parts = in_turn([again, lambda: lambda: [one() for one in passes]], repeats)
        training.accelerator.free_memory()
    return {
        "parts": ", ".join(f"{count} {one}" for one, count in Counter(map(str, passes)).items()),
        "step_ms": 1000 * step / method.cycle,
        "parts_ms": 1000 * parts / method.cycle,
        "over_parts": step / parts,
        "cycle": method.cycle,
    }


def speed(model: Denoiser, methods: tuple[str, ...] = (), repeats: int = 10) -> Iterator[dict[str, Any]]:
    """A row a method, as `ect` or `meanflow[differences=0.03]`, all if none is named; or why there is none of it.

    The batch is doubled from 16 until a forward pass lasts 50 ms.
    """
    chosen = {name: call(METHODS, *spelled(name, "--methods"), "--methods") for name in methods or distinct()}
    batch, forward = batch_of(model, 16, PASS)
    for name, method in chosen.items():
        try:
            yield {
                "method": name,
                "batch": batch,
                "forward_ms": 1000 * forward,
                **cost(method, model, batch, repeats),
            }
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
    return (
        f"{row['method']} is left out: {row['left_out']}"
        if "left_out" in row
        else (f"{row['method']}  {row['over_parts']:.3f}")
    )


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    shown = Table(
        "Method",
        "Parts",
        *(Column(name, justify="right") for name in ("ms a step", "ms of its parts", "ratio")),
    )
    for row in rows:
        if "left_out" not in row:
            shown.add_row(
                row["method"],
                row["parts"].replace(", ", "\n"),
                f"{row['step_ms']:.0f}",
                f"{row['parts_ms']:.0f}",
                f"{row['over_parts']:.3f}",
            )
    return shown
