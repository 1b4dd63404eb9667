"""From recipe to report: every stage not finished yet, then the benchmark, then the report."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import heap, pairs, report
from .bench import cells, check_fit, sweep
from .checkpoint import ABOUT, about, export, fingerprint, load
from .data import Dataset
from .denoiser import Denoiser
from .errors import FastdiffError
from .files import read_json, write_json
from .generate import check_labels, plan, sample
from .guidance import usual_guidance
from .methods import Progress as Clock
from .pictures import picture, save
from .pins import PINS, pin
from .recipe import Recipe, Stage
from .recipe import load as load_recipe
from .source import differences, read
from .train import Training

SHOWN = 64          # samples drawn of a stage


def run(recipe: Recipe | str | Path, out: str | Path | None = None, only: str | None = None) -> Path:
    """Do all that is not done yet; returns the run's directory. The same call again resumes, or does nothing.

    only: the one stage to train, its teacher being there already; no benchmark. out: instead of checkpoints/<name>.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(out) if out else Path("checkpoints") / recipe.name
    names = [stage.name for stage in recipe.stages]
    if only and only not in names:
        raise FastdiffError(f"--only {only}: no such stage, choose from {', '.join(names)}")
    accelerator = Accelerator(cpu=not torch.cuda.is_available(),              # said aloud, or CPU processes never meet
                              mixed_precision=precision_of(recipe),
                              kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
    console = Console(quiet=not accelerator.is_main_process)
    recipe, pins = pin(recipe, folder)
    dataset = recipe.dataset()
    claim(folder, recipe, accelerator)
    if pins and accelerator.is_main_process:
        write_json(folder / PINS, pins)
    console.print(f"{recipe.name}: {len(names)} stages on {len(dataset)} examples of {dataset.name}, in {folder}",
                  highlight=False)
    for stage in recipe.stages:                                           # before the first is trained
        if stage.method and only in (None, stage.name) and about(folder / stage.name) is None:
            stage.method.ready(dataset.shape, accelerator.device)
    for number, stage in enumerate(recipe.stages, 1):
        if only in (None, stage.name):
            title = f"{number}/{len(names)} {stage.name}"
            if stage.pairs:
                make_pairs(stage, folder, accelerator, console, title)
            else:
                train_stage(recipe, stage, dataset, folder, accelerator, console, title)
    if only is None:
        benchmark(recipe, dataset, folder, accelerator, console)
    return folder


def precision_of(recipe: Recipe) -> str:
    """The one precision of all stages."""
    first, *others = dict.fromkeys(stage.train.precision for stage in recipe.stages if stage.method) or ["no"]
    if others:
        raise FastdiffError(f"train.precision: one run has one precision, the stages name {first} and {others[0]}")
    return first


def claim(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Make the directory this recipe's, or make sure that it is."""
    path, mine = folder / "recipe.yaml", {k: v for k, v in recipe.source.items() if k != "bench"}
    if path.exists():
        theirs = {k: v for k, v in read(path).items() if k != "bench"}
        if changed := differences(theirs, mine):
            key, old, new = changed[0]
            raise FastdiffError(f"{folder} was made with {key} = {old}, the recipe now says {new}: give another --out, "
                                f"or remove {folder} to start over")
    if accelerator.is_main_process:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            scratch = folder / ".recipe.yaml"
            scratch.write_text(yaml.safe_dump(recipe.source, sort_keys=False))
            scratch.replace(path)
        except OSError as error:
            raise FastdiffError(f"{folder} cannot be written ({error.strerror}): choose another with --out") from None
    accelerator.wait_for_everyone()


# ---- one stage


def train_stage(recipe: Recipe, stage: Stage, dataset: Dataset, folder: Path, accelerator: Accelerator, console: Console,
                title: str) -> None:
    """Train, resume or skip a stage, and export its average."""
    place, stored = folder / stage.name, stage.data and pairs_at(stage.data, folder)
    data = pairs.read(stored, dataset) if stored else dataset
    origin = {"method": {"name": stage.method_name, **described(stage.method)}, "data": data.fingerprint,
              **{role: fingerprint(where(reference, folder)) if reference else None
                 for role, reference in (("teacher", stage.teacher), ("init", stage.init or stage.teacher))}}
    if (notes := about(place)) and notes.get("origin") == origin:
        return
    if accelerator.is_main_process:
        forget_others(place, origin, console)
    accelerator.wait_for_everyone()
    config = replace(stage.train, seed=stage.train.seed ^ zlib.crc32(stage.name.encode()))
    torch.manual_seed(config.seed)
    source = stage.init or stage.teacher
    begun = load(where(source, folder)) if source else recipe.fresh_model(dataset)
    student, told = stage.method.student(begun), begun.guidance
    teacher = load(where(stage.teacher, folder)).on(student.schedule) if stage.teacher else None
    for reference, model in ((source, student), (stage.teacher, teacher)):
        check_data(f"stage {stage.name}: {reference}", model, data)
    if told != (teacher.guidance if teacher else None):                   # it would forget it, or could not follow it
        one, other = (source, stage.teacher or "what it learns from") if told else (stage.teacher, source)
        raise FastdiffError(f"stage {stage.name}: {one} is told a weight of guidance, and {other} is not told the same: "
                            "leave out init, or choose a teacher that fits it")
    if recipe.bench.models is None or stage.name in recipe.bench.models:
        check_fit(stage.name, student, dataset, recipe.bench)             # not after days of training
    student.sampling = stage.method.sampling()
    plan(student, None, None, None, {})                                   # what cannot be sampled is not worth training
    stage.method.ready(student.shape, accelerator.device)
    training = Training(stage.method, Clock, student, teacher, data, config, place, accelerator)
    start = training.step
    with bar(console, title, config.steps, start) as advance, heap.kept():
        for step, logs in training:
            advance(step, f"loss {logs['loss']:.4g}" if logs else None)
            if config.sample_every and step % config.sample_every == 0 and accelerator.is_main_process:
                draw(training.average, place / "samples" / f"{step:08d}.png")
    if accelerator.is_main_process:
        draw(training.average, place / "samples" / f"{config.steps:08d}.png")
        cost = {"images": training.images, "seconds": training.seconds,
                "teacher_nfe": training.images * stage.method.teacher_nfe() + (pairs.about(stored)["nfe"] if stored else 0)}
        dtype = {"float32": torch.float32, "float16": torch.float16}[config.export]
        notes = {"method": stage.method_name, "origin": origin, "ema": config.ema, "cost": cost}
        export(training.average, place, notes, dtype)
    accelerator.wait_for_everyone()
    accelerator.free_memory()


def check_data(what: str, model: Denoiser | None, data: Any) -> None:
    """Refuse a model of other samples or fewer classes than the data's."""
    if model and tuple(model.shape) != tuple(data.shape):
        raise FastdiffError(f"{what} makes samples of shape {tuple(model.shape)}, the data have {tuple(data.shape)}")
    if model and model.net.null_label is not None and data.labels is not None:
        try:
            check_labels(model, data.labels)
        except FastdiffError as error:
            raise FastdiffError(f"{what} does not know the data's classes: {error}") from None


def make_pairs(stage: Stage, folder: Path, accelerator: Accelerator, console: Console, title: str) -> None:
    """Store a teacher's pairs, unless they are there."""
    place, teacher = folder / stage.name, where(stage.teacher, folder)
    origin = {"pairs": described(stage.pairs), "teacher": fingerprint(teacher)}
    if (notes := pairs.about(place)) and notes["origin"] == origin:
        return
    if accelerator.is_main_process:
        forget_others(place, origin, console)
    accelerator.wait_for_everyone()
    with bar(console, title, stage.pairs.n, 0) as advance:
        pairs.write(place, stage.pairs, load(teacher), origin, accelerator, advance)
    accelerator.wait_for_everyone()


def pairs_at(reference: str, folder: Path) -> Path:
    """A stage's folder of pairs, or the path as given."""
    own = folder / reference
    return own if pairs.about(own) else Path(reference).expanduser()


def described(method: Any) -> dict[str, Any]:
    """The settings that are not the method's defaults: an option that comes later leaves finished stages as they are."""
    own = {f.name: getattr(method, f.name) for f in fields(method)
           if getattr(method, f.name) != (f.default if f.default_factory is MISSING else f.default_factory())}
    return {name: value if isinstance(value, str | int | float | None) else repr(value) for name, value in own.items()}


def where(reference: str, folder: Path) -> Path | str:
    """A stage's folder, or the path or hub id as given."""
    if (folder / reference / ABOUT).exists():
        return folder / reference
    if not any(mark in reference for mark in "/.~"):                      # the recipe took it for a stage
        raise FastdiffError(f"stage {reference} is not trained yet: run it first, with --only {reference} or without --only")
    return reference


def forget_others(place: Path, origin: dict[str, Any], console: Console) -> None:
    """Set aside what an earlier teacher or data left in a stage's folder, and note whose it is now."""
    path = place / "origin.json"
    try:
        theirs = read_json(path) if path.exists() else origin
    except ValueError as error:
        raise FastdiffError(f"{path} is damaged ({error}): remove {place} to train it again") from None
    if theirs != origin:
        aside = place.with_name(f"{place.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
        console.print(f"{place.name}: made from another teacher or data, started over; the old one is kept as {aside.name}")
        place.replace(aside)
    place.mkdir(parents=True, exist_ok=True)
    write_json(path, origin)


def draw(model: Denoiser, path: Path) -> None:
    """Samples of a model, as it is meant to be sampled, as one sheet; with labels, of each class in turn."""
    classes = model.net.null_label
    labels = torch.arange(SHOWN) % classes if classes else None
    save(picture(sample(model, n=SHOWN, labels=labels, guidance=usual_guidance(model)), zoom=4), path)


# ---- benchmark and report


def benchmark(recipe: Recipe, dataset: Dataset, folder: Path, accelerator: Accelerator, console: Console) -> None:
    """Measure every stage, then write and show the report."""
    config = recipe.bench
    names = [stage.name for stage in recipe.stages if stage.method]
    models = {name: folder / name for name in names}
    teacher = config.teacher or next((s.name for s in recipe.stages if s.method_name == "denoising"), None)
    outside = next((s.teacher for s in recipe.stages if s.teacher and s.teacher not in names), None)
    if teacher is None and outside and "teacher" not in names:            # a teacher from elsewhere has its rows too
        teacher, models["teacher"] = "teacher", outside
    wanted = cells({n: load(p) for n, p in models.items()}, teacher, config)
    total = sum(cell.steps for cell in wanted) * len(config.seeds)        # time goes with the steps, not with the cells
    rows: list[dict[str, Any]] = []
    with bar(console, "benchmark", total, 0) as advance:
        for row in sweep(models, dataset, config, folder, teacher=teacher, accelerator=accelerator):
            rows.append(row)
            advance(sum(row["steps"] for row in rows), f"{row['model']} {row['sampler']} {row['steps']}")
    if accelerator.is_main_process:
        console.print(*report.left_out(folder), sep="\n", end="")
        if rows:                                                          # a budget may leave none
            report.write(folder)
            console.print(report.table(rows))
        console.print(f"{folder}: done. Open {folder / 'report.html'}")
    accelerator.wait_for_everyone()


@contextmanager
def bar(console: Console, title: str, total: int, done: int) -> Iterator:
    """A progress bar with remaining time; where nobody looks at a terminal, a line every tenth."""
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    start, told = time.monotonic(), done * 10 // total
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(step: int, note: str | None = None) -> None:
            nonlocal told
            progress.update(task, completed=step, **({"note": note} if note else {}))
            if not console.is_terminal and step * 10 // total > told:
                told = step * 10 // total
                left = (time.monotonic() - start) / (step - done) * (total - step)
                console.print(f"{title}  {step}/{total}  {left:.0f} s left", highlight=False)

        yield advance
