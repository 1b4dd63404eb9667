"""A run, from recipe to report: every stage that is not finished, then the benchmark, then the report."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration
from rich.console import Console

from ..core.accelerator import make_accelerator
from ..core.errors import FastdiffError
from ..core.files import atomic_write, write_json
from ..data.registry import Nothing, Readable
from ..evaluation import report
from ..evaluation.lock import HeldLock, alone
from ..evaluation.sweep import Sweep, judges
from ..io.load import read_metadata
from ..training.config import CHANGEABLE_ON_RESUME
from ..training.signals import heard
from . import crash_report
from .cards import renew
from .checks import check_like
from .context import Run
from .disk_errors import writing
from .hub_pins import PINS_FILE, pin
from .progress_bar import bar
from .recipe import Recipe
from .recipe import load as load_recipe
from .recipe_file import differences, read_recipe
from .stage import make_pairs, train
from .stage_config import Stage
from .status import note


def run(recipe: Recipe | str | Path, out: str | Path | None = None, only: str | None = None) -> Path:
    """Train, benchmark and report what a recipe describes; the same call again resumes, or does nothing.

    SIGTERM and SIGINT save and raise Interrupted (exit code 75), SIGUSR1 saves. One run at a time works in a
    directory.

    Args:
        recipe: the recipe, or the path of its file.
        out: the run's directory, checkpoints/<name> if not given.
        only: the one stage to train, whose teacher is there already; nothing is benchmarked.

    Returns:
        The run's directory.

    Raises:
        FastdiffError: for a recipe that cannot be run, or a directory of another recipe or run.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(out) if out else Path("checkpoints") / recipe.name
    names = [stage.name for stage in recipe.stages]
    if only and only not in names:
        raise FastdiffError(f"--only {only}: no such stage, choose from {', '.join(names)}")
    with heard() as signals, reported(folder, recipe), writing(folder):  # a full disk is no crash
        project = ProjectConfiguration(str(folder), logging_dir=str(folder / "trackers"))
        accelerator = make_accelerator(
            mixed_precision=precision_of(recipe),
            log_with=list(recipe.trackers) or None,
            project_config=project,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        folder.mkdir(parents=True, exist_ok=True)
        console = Console(quiet=not accelerator.is_main_process)
        with alone(folder, accelerator) as held:  # to the last row and the report
            recipe, pins = pin(recipe, folder)
            shared = Run(recipe, recipe.dataset(), folder, accelerator, console, signals)
            claim(folder, recipe, accelerator)
            if pins and accelerator.is_main_process:
                write_json(folder / PINS_FILE, pins)
            accelerator.init_trackers(recipe.name)
            train_all(shared, only)
            if only is None:
                benchmark(shared, held)
    return folder


@contextmanager
def reported(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Write a crash report into the run's directory if the block raises an error that is not the user's."""
    try:
        yield
    except FastdiffError:
        raise
    except Exception as error:
        if path := crash_report.report(folder, recipe.source, error):
            sys.stderr.write(f"fastdiff crashed: {path} can be pasted into an issue\n")
        raise


def train_all(run: Run, only: str | None) -> None:
    """Train every stage that is not finished, or only the named one."""
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
    """Refuse stages that cannot be trained or judged, before the first of them is trained."""
    data = run.dataset
    ahead = [
        stage
        for stage in run.recipe.stages
        if stage.method and only in (None, stage.name) and not read_metadata(run.folder / stage.name)
    ]
    for stage in ahead:
        if stage.judged:
            check_stage(run, stage, data)
    if ahead and only is None and not isinstance(data, Nothing):
        judges(data.reference, run.recipe.bench, run.accelerator.device)


def check_stage(run: Run, stage: Stage, data: Readable) -> None:
    """Refuse a stage that the run's data cannot judge, or whose method, steps or new model do not fit."""
    recipe = run.recipe.of(stage)
    check_like(stage.name, recipe.dataset() if stage.own else data, data)
    stage.method.validate(data.shape, run.accelerator.device)
    if stage.train.steps < stage.method.cycle:
        raise FastdiffError(
            f"stages.{stage.name}.train.steps = {stage.train.steps}: the student learns in every "
            f"{stage.method.cycle}th of them alone, expected at least so many"
        )
    if not (stage.init or stage.teacher):
        recipe.fresh_model(data, "meta")  # costs nothing


def precision_of(recipe: Recipe) -> str:
    """Return the precision of all stages; raise FastdiffError if they name several."""
    first, *others = dict.fromkeys(stage.train.precision for stage in recipe.stages if stage.method) or ["no"]
    if others:
        raise FastdiffError(
            f"train.precision: one run has one precision, the stages name {first} and {others[0]}"
        )
    return first


def claim(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Write a recipe into a run's directory; raise FastdiffError if another recipe made the directory."""
    path = folder / "recipe.yaml"
    if path.exists():
        theirs = trained_settings(read_recipe(path))
        mine = trained_settings(recipe.source)
        if changed := [change for change in differences(theirs, mine) if not is_free(change[0])]:
            key, old, new = changed[0]
            raise FastdiffError(
                f"{folder} was made with {key} = {old}, the recipe now says {new}: give another --out, "
                f"or remove {folder} to start over"
            )
    if accelerator.is_main_process:
        with atomic_write(path) as scratch:
            scratch.write_text(yaml.safe_dump(recipe.source, sort_keys=False))
    accelerator.wait_for_everyone()


def trained_settings(source: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's plain data without what may change after the training: benchmark and trackers."""
    return {key: value for key, value in source.items() if key not in ("bench", "trackers")}


def is_free(key: str) -> bool:
    """Return whether a setting affects how a training runs and not its result: a run resumes with another."""
    *_, section, last = ("", *key.split("."))
    return section == "train" and last in CHANGEABLE_ON_RESUME


def benchmark(run: Run, held: HeldLock) -> None:
    """Measure every stage, then write and show the report.

    Args:
        run: the run, its stages trained.
        held: the lock of its directory.
    """
    config, folder, accelerator = run.recipe.bench, run.folder, run.accelerator
    if isinstance(run.dataset, Nothing):
        run.console.print(
            f"{folder}: done, and not measured, as `nothing` has no images to judge samples by: compare the "
            "models with data by fastdiff bench",
            soft_wrap=True,
        )
        return note(folder, stage="done") if accelerator.is_main_process else None
    stages = [stage for stage in run.recipe.stages if stage.judged]
    names = [stage.name for stage in stages if stage.method]
    models = {name: folder / name for name in names}
    teacher = config.teacher or next((s.name for s in stages if s.method_name == "denoising"), None)
    outside = next((s.teacher for s in stages if s.teacher and s.teacher not in names), None)
    if teacher is None and outside and "teacher" not in names:  # a teacher from elsewhere has its rows too
        teacher, models["teacher"] = "teacher", outside
    sweep = Sweep(models, run.dataset.reference, config, folder, teacher=teacher, accelerator=accelerator)
    # time goes with the steps, not with the cells
    total = sum(cell.steps for cell in sweep.cells) * len(config.seeds)
    rows: list[dict[str, Any]] = []
    with bar(run.console, "benchmark", total, 0) as advance:
        for row in sweep.rows(held):
            rows.append(row)
            done = sum(row["steps"] for row in rows)
            advance(done, f"{row['model']} {row['sampler']} {row['steps']}")
            if accelerator.is_main_process:
                note(folder, stage="benchmark", step=done, steps=total)
    if accelerator.is_main_process:
        run.console.print(*report.left_out(folder), sep="\n", end="")
        if rows:  # a budget may leave none
            report.write(folder)
            for name in names:  # with the table
                renew(folder / name)
            run.console.print(report.table(rows))
        note(folder, stage="done")
        run.console.print(f"{folder}: done. Open {folder / 'report.html'}", soft_wrap=True)
    accelerator.wait_for_everyone()
