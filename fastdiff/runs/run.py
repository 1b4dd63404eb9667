"""A run from recipe to report: every unfinished stage, then the benchmark, then the report."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration
from rich.console import Console

from ..core.accelerator import make_accelerator
from ..core.defaults import float32_on_cpu
from ..core.errors import FastdiffError
from ..core.files import make_directory, write_json
from ..core.memory import enough_memory
from ..core.progress_bar import bar
from ..core.wording import suggestion
from ..data.registry import Nothing, Readable
from ..evaluation import report
from ..evaluation.config import Cell
from ..evaluation.lock import HeldLock, alone
from ..evaluation.opening import bench_evaluators
from ..evaluation.sweep import Sweep
from ..io.load import read_metadata
from ..networks.own import check_storable
from ..training.signals import handle_signals
from . import crash_report, trackers
from .baseline_teacher import baseline_teacher
from .cards import renew
from .checks import check_like
from .claim import claim
from .context import Run
from .disk_errors import writing
from .hub_pins import PINS_FILE, pin
from .recipe import Recipe
from .recipe import load as load_recipe
from .stage import make_pairs, train
from .stage_config import Stage
from .status import note


@float32_on_cpu()
def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    only: str | None = None,
    redo: tuple[str, ...] = (),
) -> Path:
    """Train all stages of a recipe, benchmark them and write the report.

    Call it again to resume; a finished run does nothing. SIGTERM and SIGINT save a checkpoint and raise
    Interrupted (exit code 75), SIGUSR1 saves a checkpoint. A directory can be used by one run at a time.

    Example:
        >>> folder = fastdiff.run("recipes/digits.yaml")
        >>> model = fastdiff.load(folder / "consistency")
        >>> images = fastdiff.sample(model, n=16)

    Args:
        recipe: a recipe (see `fastdiff.recipe`), or the path of a recipe file.
        out: directory of the run; None for checkpoints/<name of the recipe>.
        only: name of the only stage to train, whose teacher has to be trained already; nothing is
            benchmarked. None trains all stages.
        redo: names of stages that are trained again if their settings have changed, with what follows them;
            the old folders are kept under another name. A changed stage that is not named is an error.

    Returns:
        The run's directory. It has a folder for each stage (see `fastdiff.load`), the benchmark rows in
        bench.jsonl, and report.md and report.html.

    Raises:
        FastdiffError: for a recipe that cannot be run, and for a directory that another recipe has made or
            another run is using.
        Interrupted: after SIGTERM or SIGINT, when the checkpoint is saved.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(out) if out else Path("checkpoints") / recipe.name
    names = [stage.name for stage in recipe.stages]
    if only and only not in names:
        raise FastdiffError(f"--only {only}: no such stage{suggestion(only, names)}")
    make_directory(folder)
    with (
        handle_signals() as signals,
        reported(folder, recipe),  # neither a full disk nor too little memory is a crash
        writing(folder),
        enough_memory("choose smaller batches, a smaller network or less data"),
    ):
        project = ProjectConfiguration(str(folder), logging_dir=str(folder / "trackers"))
        accelerator = make_accelerator(
            mixed_precision=precision_of(recipe),
            log_with=list(recipe.trackers) or None,
            project_config=project,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        console = Console(quiet=not accelerator.is_main_process)
        with alone(folder, accelerator) as held:  # until the last row and the report are written
            recipe, pins = pin(recipe, folder)
            shared = Run(recipe, recipe.dataset(), folder, accelerator, console, signals)
            for name in claim(folder, recipe, accelerator, redo):
                console.print(f"--redo {name}: nothing to set aside", highlight=False)
            if pins and accelerator.is_main_process:
                write_json(folder / PINS_FILE, pins)
            trackers.start(accelerator, recipe)
            train_all(shared, only)
            if only is None and recipe.bench:
                with enough_memory(f"bench.batch = {recipe.bench.batch}; choose a smaller one"):
                    benchmark(shared, held)
            elif only is None:
                finish(shared, "its recipe has no benchmark")
    return folder


@contextmanager
def reported(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Write a crash report into the run's directory if the block raises anything but a FastdiffError."""
    try:
        yield
    except FastdiffError:
        raise
    except Exception as error:
        if path := crash_report.report(folder, recipe.source, error):
            sys.stderr.write(f"fastdiff crashed: {path} can be pasted into an issue\n")
        raise


def train_all(run: Run, only: str | None) -> None:
    """Train every unfinished stage, or only the stage with the name `only`."""
    stages = run.recipe.stages
    run.console.print(
        f"{run.recipe.name}: {len(stages)} stages on {run.dataset.described}, in {run.folder}",
        highlight=False,
        soft_wrap=True,
    )
    check_stages(run, only)
    for number, stage in enumerate(stages, 1):
        if only in (None, stage.name):
            title = f"{number}/{len(stages)} {stage.name}"
            if stage.pairs:
                make_pairs(run, stage, title)
            else:
                train(run, stage, title)


def check_stages(run: Run, only: str | None) -> None:
    """Raise FastdiffError for stages that cannot be trained or judged, before the first one is trained."""
    data = run.dataset
    if only is None and run.recipe.bench:
        baseline_teacher(run.recipe)  # raises if the baselines lack a teacher
    ahead = [
        stage
        for stage in run.recipe.stages
        if stage.method and only in (None, stage.name) and not read_metadata(run.folder / stage.name)
    ]
    for stage in ahead:
        if stage.judged:
            check_stage(run, stage, data)
    if ahead and only is None and run.recipe.bench and not isinstance(data, Nothing):
        bench_evaluators(data.reference, run.recipe.bench, run.accelerator.device)


def check_stage(run: Run, stage: Stage, data: Readable) -> None:
    """Raise FastdiffError if the run's data cannot judge a stage, or its method, steps or model are wrong."""
    recipe = run.recipe.of(stage)
    check_like(stage.name, recipe.dataset() if stage.own else data, data)
    stage.method.validate(data.shape, run.accelerator.device)
    if stage.train.steps < stage.method.cycle:
        raise FastdiffError(
            f"stages.{stage.name}.train.steps = {stage.train.steps}: the student is updated every "
            f"{stage.method.cycle} steps; set steps to at least {stage.method.cycle}"
        )
    if not (stage.init or stage.teacher):
        model = recipe.fresh_model(data, "meta")  # without weights, so it takes no memory
        check_storable(model.net, model.shape)


def precision_of(recipe: Recipe) -> str:
    """Return the precision of all stages.

    Raises:
        FastdiffError: if the stages have different precisions.
    """
    first, *others = dict.fromkeys(stage.train.precision for stage in recipe.stages if stage.method) or ["no"]
    if others:
        raise FastdiffError(
            f"train.precision = {first} and {others[0]}: expected the same precision in all stages of a run"
        )
    return first


def finish(run: Run, reason: str) -> None:
    """Note that a run is done without a benchmark, and print why."""
    run.console.print(
        f"{run.folder}: done, but not measured, because {reason}: use `fastdiff bench` to measure the models",
        soft_wrap=True,
    )
    if run.accelerator.is_main_process:
        note(run.folder, stage="done")


def benchmark(run: Run, held: HeldLock) -> None:
    """Measure every stage, then write the report and print its table.

    Args:
        run: the run, with all stages trained.
        held: the lock of its directory.
    """
    config, folder, accelerator = run.recipe.bench, run.folder, run.accelerator
    if isinstance(run.dataset, Nothing):
        return finish(run, "`nothing` has no images to judge samples by")
    stages = [stage for stage in run.recipe.stages if stage.judged]
    names = [stage.name for stage in stages if stage.method]
    models = {name: folder / name for name in names}
    teacher, outside = baseline_teacher(run.recipe)
    if outside:  # a teacher outside the run is measured too
        models[teacher] = outside
    held_out = run.recipe.held_out()
    sweep = Sweep(
        models,
        run.dataset.reference,
        config,
        folder,
        teacher=teacher,
        accelerator=accelerator,
        held_out=held_out,
    )
    # the time is proportional to the number of steps, not of cells
    total = sum(cell.steps for cell in sweep.cells) * len(config.seeds)
    rows: list[dict[str, Any]] = []
    done = 0
    with bar(run.console, "benchmark", total, 0) as advance:

        def on_step(cell: Cell, fraction: float) -> None:
            advance(done + fraction * cell.steps, f"{cell.model} {cell.sampler} {cell.steps}")

        sweep.on_step = on_step
        for row in sweep.rows(held):
            rows.append(row)
            done += row["steps"]
            advance(done, f"{row['model']} {row['sampler']} {row['steps']}")
            if accelerator.is_main_process:
                note(folder, stage="benchmark", step=done, steps=total)
    if accelerator.is_main_process:
        run.console.print(*report.left_out(folder), sep="\n", end="")
        if rows:  # none if the budget was too small
            trackers.log_rows(accelerator, rows)
            report.write(folder)
            for name in names:  # adds the table to the cards
                renew(folder / name)
            report.print_table(report.table([*sweep.real_rows, *rows]), run.console)
        note(folder, stage="done")
        run.console.print(f"{folder}: done. Open {folder / 'report.html'}", soft_wrap=True)
    accelerator.wait_for_everyone()
