"""From recipe to report: every stage not finished yet, then the benchmark, then the report."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration
from rich.console import Console

from ..core.errors import FastdiffError
from ..core.files import write_json
from ..data.registry import Nothing
from ..evaluation import report
from ..evaluation.lock import alone
from ..evaluation.sweep import cells, judges, sweep
from ..io.load import about, load
from ..training.config import FREE
from ..training.signals import heard
from . import crash_report as crash
from .cards import renew
from .checks import check_like
from .disk_errors import writing
from .hub_pins import PINS, pin
from .progress_bar import bar
from .recipe import Recipe
from .recipe import load as load_recipe
from .recipe_file import differences, read
from .stage import Run, make_pairs, train
from .status import note


def run(recipe: Recipe | str | Path, out: str | Path | None = None, only: str | None = None) -> Path:
    """Do all that is not done yet; returns the run's directory. The same call again resumes, or does nothing.

    only: the one stage to train, its teacher being there already; no benchmark. out: instead of
    checkpoints/<name>. SIGTERM and SIGINT save and raise Interrupted (exit code 75), SIGUSR1 saves; one run
    at a time works in a directory.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(out) if out else Path("checkpoints") / recipe.name
    names = [stage.name for stage in recipe.stages]
    if only and only not in names:
        raise FastdiffError(f"--only {only}: no such stage, choose from {', '.join(names)}")
    with heard() as signals, reported(folder, recipe), writing(folder):  # a full disk is no crash
        project = ProjectConfiguration(str(folder), logging_dir=str(folder / "trackers"))
        accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # said aloud, or CPU processes never meet
            mixed_precision=precision_of(recipe),
            log_with=list(recipe.trackers) or None,
            project_config=project,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        folder.mkdir(parents=True, exist_ok=True)
        console = Console(quiet=not accelerator.is_main_process)
        with alone(folder, accelerator):
            recipe, pins = pin(recipe, folder)
            shared = Run(recipe, recipe.dataset(), folder, accelerator, console, signals)
            claim(folder, recipe, accelerator)
            if pins and accelerator.is_main_process:
                write_json(folder / PINS, pins)
            accelerator.init_trackers(recipe.name)
            train_all(shared, only)
        if only is None:
            benchmark(shared)
    return folder


@contextmanager
def reported(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Inside, an error that is not the user's leaves a report beside what was saved."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, FastdiffError) and (place := crash.report(folder, recipe.source, error)):
            sys.stderr.write(f"fastdiff crashed: {place} can be pasted into an issue\n")
        raise


def train_all(run: Run, only: str | None) -> None:
    """Every stage that is not finished, or the only one."""
    stages, data = run.recipe.stages, run.dataset
    run.console.print(
        f"{run.recipe.name}: {len(stages)} stages on {data.described}, in {run.folder}",
        highlight=False,
        soft_wrap=True,
    )
    ahead = [
        stage
        for stage in stages
        if stage.method and only in (None, stage.name) and not about(run.folder / stage.name)
    ]
    for stage in (stage for stage in ahead if stage.judged):  # before the first is trained
        recipe = run.recipe.of(stage)
        check_like(stage.name, recipe.dataset() if stage.own else data, data)
        stage.method.ready(data.shape, run.accelerator.device)
        if stage.train.steps < stage.method.cycle:
            raise FastdiffError(
                f"stages.{stage.name}.train.steps = {stage.train.steps}: the student learns in every "
                f"{stage.method.cycle}th of them alone, expected at least so many"
            )
        if not (stage.init or stage.teacher):
            recipe.fresh_model(data, "meta")  # costs nothing
    if ahead and only is None and not isinstance(data, Nothing):  # and not after days
        judges(data.reference, run.recipe.bench, run.accelerator.device)
    for number, stage in enumerate(stages, 1):
        if only in (None, stage.name):
            do = make_pairs if stage.pairs else train
            do(run, stage, f"{number}/{len(stages)} {stage.name}")


def precision_of(recipe: Recipe) -> str:
    """The one precision of all stages."""
    first, *others = dict.fromkeys(stage.train.precision for stage in recipe.stages if stage.method) or ["no"]
    if others:
        raise FastdiffError(
            f"train.precision: one run has one precision, the stages name {first} and {others[0]}"
        )
    return first


def claim(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Make the directory this recipe's, or make sure that it is."""
    path, mine = (
        folder / "recipe.yaml",
        {k: v for k, v in recipe.source.items() if k not in ("bench", "trackers")},
    )
    if path.exists():
        theirs = {k: v for k, v in read(path).items() if k not in ("bench", "trackers")}
        if changed := [change for change in differences(theirs, mine) if not free(change[0])]:
            key, old, new = changed[0]
            raise FastdiffError(
                f"{folder} was made with {key} = {old}, the recipe now says {new}: give another --out, "
                f"or remove {folder} to start over"
            )
    if accelerator.is_main_process:
        scratch = folder / ".recipe.yaml"
        scratch.write_text(yaml.safe_dump(recipe.source, sort_keys=False))
        scratch.replace(path)
    accelerator.wait_for_everyone()


def free(key: str) -> bool:
    """Whether a setting decides how a run goes and not what comes of it."""
    *_, section, last = ("", *key.split("."))
    return section == "train" and last in FREE


def benchmark(run: Run) -> None:
    """Measure every stage, then write and show the report."""
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
    wanted = cells({n: load(p) for n, p in models.items()}, teacher, config)
    total = sum(cell.steps for cell in wanted) * len(
        config.seeds
    )  # time goes with the steps, not with the cells
    rows: list[dict[str, Any]] = []
    with bar(run.console, "benchmark", total, 0) as advance:
        for row in sweep(
            models, run.dataset.reference, config, folder, teacher=teacher, accelerator=accelerator
        ):
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
