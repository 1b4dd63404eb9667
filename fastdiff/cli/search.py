"""The `search` command: finds a student's intermediate sampling times."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import FastdiffError
from ..core.files import check_writable, expanded
from .options import Captions, Colour, Data, Model, Resolution, checked_seed, given

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from ..evaluation.evaluator import Evaluator


def search(
    model: Model,
    steps: Annotated[
        int,
        typer.Option(help="Number of sampling steps."),
    ] = 2,
    spacing: Annotated[
        str | None,
        typer.Option(help="Time grid to start from.", show_default="the model's own"),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of samples that each grid is judged by.")] = 512,
    seed: Annotated[
        int, typer.Option(callback=checked_seed, help="Seed of the noise; one that no benchmark uses.")
    ] = 1000,
    rounds: Annotated[int, typer.Option(help="Passes of the search over all times.")] = 2,
    data: Data = "digits",
    resolution: Resolution = None,
    colour: Colour = None,
    captions: Captions = None,
    extractor: Annotated[
        str | None,
        typer.Option(help="The one feature network that judges."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Guidance scale; 1 for none.", show_default="1, or the nearest that the model takes"
        ),
    ] = None,
) -> None:
    """Find a student's best sampling times and store them.

    The times are written into the model's fastdiff.json, and `sample` and `bench` use them by default.
    """
    from rich.console import Console

    from ..core.accelerator import make_accelerator
    from ..core.guidance import usual_guidance
    from ..data.registry import open_dataset
    from ..evaluation.conditions import dataset_conditions
    from ..evaluation.config import BenchConfig
    from ..evaluation.opening import open_evaluators
    from ..evaluation.sweep import check_fit
    from ..io.load import load, model_folder, read_metadata, record_times
    from ..runs.cards import renew
    from ..samplers.time_search import search_times

    accelerator = make_accelerator()
    dataset = open_dataset(data, **given(resolution=resolution, colour=colour, captions=captions))
    opened = load(model, accelerator.device)
    folder = expanded(model_folder(model))
    notes = read_metadata(folder)
    if notes is None:
        raise FastdiffError(
            f"{model}: no fastdiff.json to store the times in; export the model first with `fastdiff export`"
        )
    guidance = usual_guidance(opened) if guidance is None else guidance
    check_fit(model, opened, dataset, BenchConfig(guidance=guidance), notes)
    check_writable(folder)
    families = ("energy",) if len(dataset.shape) == 1 or extractor == "pixels" else ("fd",)
    [evaluator, *others] = open_evaluators(dataset, extractor, families, accelerator.device)
    if others:
        raise FastdiffError(f"--extractor {extractor}: expected one feature network to judge the times")
    console = Console(stderr=True)
    with console.status("searching"):
        for best in search_times(
            opened,
            steps,
            partial(distance, evaluator, evaluator.metrics[0], accelerator),
            spacing=spacing,
            n=n,
            seed=seed,
            rounds=rounds,
            cond=dataset_conditions(opened, dataset, n),
            guidance=guidance,
        ):
            times = ", ".join(f"{t:.4g}" for t in best.times.tolist())
            console.print(f"{best.value:.4g}  {times}")
    record_times(model, best.times)
    renew(folder)
    typer.echo(f"stored with {model}: {times}")


def distance(evaluator: "Evaluator", family: str, accelerator: "Accelerator", samples: "Tensor") -> float:
    """Return the distance of samples to the evaluator's data.

    Args:
        evaluator: the evaluator, whose feature network judges.
        family: a family of metrics, `fd` or `energy`.
        accelerator: the accelerator of this process.
        samples: the samples (n, ...).
    """
    import torch

    evaluator.add(torch.arange(len(samples)), samples)
    return evaluator.result(accelerator).values[evaluator.net.named(family)]
