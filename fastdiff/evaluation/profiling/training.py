"""The overhead of training steps over the passes of their networks, recorded in a cycle of turns."""

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

Row = dict[str, Any]

MIN_PASS_SECONDS = 0.05  # shortest forward pass that is measured, in seconds
NOISE_EXAMPLES = 4096  # examples of noise, in place of data


def noise(model: Denoiser, paired: bool) -> Dataset:
    """Return a data set of noise, and pairs if `paired`: the cost of a step does not depend on the data."""
    shape = (NOISE_EXAMPLES, *model.shape)
    classes = model.null_label or 0
    examples = torch.randint(0, 256, shape).to(torch.uint8) if len(model.shape) == 3 else torch.randn(shape)
    labels = torch.randint(0, classes, (NOISE_EXAMPLES,)) if classes else None
    return Dataset("noise", examples, labels, classes, torch.randn(shape) if paired else None)


def make_training(method: Method, model: Denoiser, batch: int, folder: Path) -> Training:
    """Return a training by a method with its own settings; student and teacher are copies of one model."""
    method.validate(model.shape, model.device)
    student = method.student(deepcopy(model))
    teacher = deepcopy(model) if method.needs_teacher else None
    for net in (student, teacher) if teacher else (student,):
        net.sampling = method.sampling()  # some methods only accept an earlier stage of the same method
    config = train_config.merge_train_config(method.training, {"batch": batch}, path="train")
    accelerator = Accelerator(cpu=model.device.type == "cpu")  # where the model is, GPU or not
    data = noise(model, method.needs_pairs)
    return Training(method, Progress, student, teacher, data, config, folder, accelerator)


def cost(method: Method, model: Denoiser, batch: int, repeats: int) -> Row:
    """Measure a training step and the passes of its networks, averaged over a cycle of the method's turns.

    The cycle is the first one in the second half of the training, repeated with all its random draws.

    Args:
        method: training method.
        model: model of which student and teacher are copies.
        batch: images per step.
        repeats: number of times that each part is timed; the shortest time counts.

    Returns:
        parts: passes as text; step_ms and parts_ms: milliseconds of a step and of its passes only;
        over_parts: their ratio; cycle: number of turns of a cycle.
    """
    with heap.keep_freed_memory(), TemporaryDirectory() as folder:
        training = make_training(method, model, batch, Path(folder))
        begin = training.config.steps // 2 // method.cycle * method.cycle

        def again() -> Callable[[], Any]:
            training.step = begin
            training.images = begin * batch
            training.make_loader()
            return lambda: [training.advance() for _ in range(method.cycle)]

        again()()  # optimizers create their state in the first steps
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


def speed(model: Denoiser, methods: tuple[str, ...] = (), repeats: int = 10) -> Iterator[Row]:
    """Yield a row for each method: its `cost`, or the reason why it was skipped.

    The batch is doubled from 16 until a forward pass lasts 50 ms.

    Args:
        model: model of which student and teacher are copies.
        methods: methods such as `ect` or `meanflow[differences=0.03]`; all methods if empty.
        repeats: number of times that each part is timed; the shortest time counts.

    Raises:
        FastdiffError: for an unknown method or option.
    """
    chosen = {
        name: call(METHODS, *spelled(name, "--methods"), "--methods")
        for name in methods or distinct_methods()
    }
    batch, forward = batch_of(model, 16, MIN_PASS_SECONDS)
    for name, method in chosen.items():
        try:
            measured = cost(method, model, batch, repeats)
        except FastdiffError as error:
            yield {"method": name, "left_out": str(error)}
        else:
            yield {"method": name, "batch": batch, "forward_ms": 1000 * forward, **measured}


def distinct_methods() -> list[str]:
    """Return the name of each method, the first one if it has several."""
    names: dict[type[Method], str] = {}
    for name, kind in METHODS.items():
        names.setdefault(kind, name)
    return list(names.values())


def line(row: Row) -> str:
    """Format a row as a line of text."""
    if "left_out" in row:
        return f"{row['method']} was skipped: {row['left_out']}"
    return f"{row['method']}  {row['over_parts']:.3f}"


def table(rows: list[Row]) -> Table:
    """Format rows as a table for a terminal, without the skipped methods."""
    numbers = [Column(name, justify="right") for name in ("ms per step", "ms of its parts", "ratio")]
    shown = Table("Method", "Parts", *numbers)
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
