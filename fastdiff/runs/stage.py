"""One stage of a run: trains and exports a student, or stores a teacher's pairs."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..core.denoiser import Denoiser
from ..core.guidance import usual_guidance
from ..core.memory import enough_memory
from ..core.plugins import plugin_hashes
from ..core.progress_bar import bar
from ..data.batch import as_floats
from ..data.image_grid import picture, save
from ..data.latents import embedded, encoded
from ..data.registry import Nothing, Readable
from ..data.toys import nothing
from ..evaluation.class_names import recorded_names
from ..io.export.model import export
from ..io.load import load, read_metadata
from ..io.training_state import FIRST_MODEL
from ..methods import Progress
from ..samplers.generate import sample
from ..training import malloc, pairs
from ..training.checkpoint import newest_step
from ..training.config import TrainConfig
from ..training.health import Health
from ..training.loop import Training
from .cards import card_context
from .context import Run
from .origin import (
    Origin,
    model_path,
    pairs_origin,
    pairs_path,
    same_origin,
    set_aside_others,
    sources,
    training_origin,
)
from .stage_config import Stage
from .status import FLAGS, note
from .student import load_networks
from .trackers import log_sheet

SHEET_SAMPLES = 64  # samples in a sheet
LOGGED_WAIT_FRACTION = 0.05  # smallest fraction of time spent waiting for data that a log line shows
EXPORT_DTYPES = {"float32": torch.float32, "float16": torch.float16}

Logs = dict[str, Any]


def train(run: Run, stage: Stage, title: str) -> None:
    """Train a stage's student and export the average of its weights; resume or skip the training if possible.

    Args:
        run: the run that the stage belongs to.
        stage: a stage with a method.
        title: the stage's number and name, for the progress bar.
    """
    if stage.own is not None:
        recipe = run.recipe.of(stage)
        run = replace(run, recipe=recipe, dataset=recipe.dataset())
    place = run.folder / stage.name
    stored = pairs_path(stage.data, run.folder) if stage.data else None
    data = pairs.load_pairs(stored, run.dataset) if stored else run.dataset
    origin = training_origin(run, stage, data)
    notes = read_metadata(place)
    if notes and same_origin(notes.get("origin"), origin) and not became_longer(place, stage):
        run.console.print(f"{title}: done, skipped", highlight=False)
        return
    set_aside_others(run, place, origin)
    config = replace(stage.train, seed=stage.train.seed ^ zlib.crc32(stage.name.encode()))
    with enough_memory(memory_remedy(stage)):
        train_student(run, stage, title, data, stored, config, origin)


def became_longer(place: Path, stage: Stage) -> bool:
    """Return whether a finished stage's state is at an earlier step than its last one, see `claim`."""
    step = newest_step(place / "state")
    return step is not None and step < stage.train.steps


def memory_remedy(stage: Stage) -> str:
    """Return the settings of a stage that decide how much memory its training takes, and what to do."""
    batch, parts = stage.train.batch, stage.train.gradient_accumulation
    return (
        f"stage {stage.name}: train.batch = {batch} in {parts} part{'s' * (parts > 1)}; double "
        "train.gradient_accumulation, which changes no result, or choose a smaller batch or network"
    )


def train_student(
    run: Run,
    stage: Stage,
    title: str,
    data: Readable,
    stored: Path | None,
    config: TrainConfig,
    origin: Origin,
) -> None:
    """Train and export a stage's student.

    Args:
        run: the run that the stage belongs to.
        stage: the stage.
        title: its number and name, for the progress bar.
        data: the data that it is trained on.
        stored: folder of the pairs that it is trained on; None for other data.
        config: settings of its training.
        origin: its origin.
    """
    place = run.folder / stage.name
    torch.manual_seed(config.seed)
    student, teacher = load_networks(run, stage, data if stored else None)
    if run.accelerator.is_main_process and not config.lora:  # an adapter's states lack the other weights
        keep_first_model(run, stage, student)
    if not stored:
        data = model_data(run, student)
    training = Training(
        stage.method, Progress, student, teacher, data, config, place, run.accelerator, run.signals
    )
    if training.step:
        run.console.print(f"{title}: resumed at step {training.step:,}", highlight=False)
    with (
        bar(run.console, title, config.steps, training.step) as advance,
        malloc.keep_freed_memory(),
        run.signals.polling(),
    ):
        for step, logs in training:
            line = format_log_line(logs, training.pace, training.health) if logs else None
            advance(step, line)
            if logs:
                publish(run, stage.name, title, training, logs)
            if config.sample_every and step % config.sample_every == 0:
                draw(training.result(), run, place, step)
    base = load(model_path(stage.base, run.folder)) if stage.base else None
    model = training.result().with_base(base)
    draw(model, run, place, config.steps)
    if training.health.collapsed is not None:
        run.console.print(
            f"{stage.name}: collapsed, its samples cover {training.health.collapsed:.0%} of the data",
            highlight=False,
        )
    if training.health.chance_auc is not None:
        run.console.print(
            f"{stage.name}: its discriminator is at chance, AUC {training.health.chance_auc:.2f}",
            highlight=False,
        )
    if run.accelerator.is_main_process:
        notes = export_notes(run, stage, training, origin, stored)
        export(model, place, notes, EXPORT_DTYPES[config.export_dtype], **card_context(place))
    run.accelerator.wait_for_everyone()
    run.accelerator.free_memory()


def keep_first_model(run: Run, stage: Stage, student: Denoiser) -> None:
    """Export a student before its first step, so that the states of its training can be opened as models."""
    folder = run.folder / stage.name / "state" / FIRST_MODEL
    if not read_metadata(folder):
        export(student, folder, described_origin(run, stage, student), name=stage.name)


def described_origin(run: Run, stage: Stage, student: Denoiser) -> dict[str, Any]:
    """Return the keys of fastdiff.json that a stage's student has from its first step on."""
    notes = {"method": stage.method_name, **sources(run, stage)}
    if names := recorded_names(student, run.dataset):
        notes["class_names"] = names
    if plugins := plugin_hashes():
        notes["plugins"] = plugins
    return notes


def export_notes(
    run: Run, stage: Stage, training: Training, origin: Origin, stored: Path | None
) -> dict[str, Any]:
    """Return the keys of fastdiff.json for a finished training: method, origin, cost and sources.

    Args:
        run: the run that the stage belongs to.
        stage: the stage.
        training: its finished training.
        origin: its origin.
        stored: folder of the pairs that it was trained on, whose cost is added; None for other data.
    """
    teacher_nfe = round(training.images * stage.method.teacher_nfe())
    if stored:
        teacher_nfe += pairs.read_pair_notes(stored)["nfe"]
    notes = {
        **described_origin(run, stage, training.student),
        "origin": origin,
        "ema": training.config.ema,
        "cost": {"images": training.images, "seconds": training.seconds, "teacher_nfe": teacher_nfe},
    }
    notes |= {key: value for key in FLAGS if (value := getattr(training.health, key)) is not None}
    return notes


def model_data(run: Run, model: Denoiser) -> Readable:
    """Return the run's data in the form that a model is trained on: latents, and embedded captions."""
    data = run.dataset
    if isinstance(data, Nothing) and not model.text:
        return nothing(model.shape, data.classes)
    for title, companion, convert in (
        ("encoding images", model.latent, encoded),
        ("embedding captions", model.text, embedded),
    ):
        if companion:
            with bar(run.console, title, len(data), 0) as advance:
                data = convert(data, companion, run.accelerator, advance)
    return data


def publish(run: Run, name: str, title: str, training: Training, logs: Logs) -> None:
    """Send the figures of a log line to the trackers and to `fastdiff status`."""
    step = training.step
    steps = training.config.steps
    pace = training.pace
    run.accelerator.log({f"{name}/{figure}": value for figure, value in (logs | pace).items()}, step)
    if run.accelerator.is_main_process:
        note(
            run.folder,
            stage=name,
            number=title.split()[0],
            step=step,
            steps=steps,
            loss=logs.get("loss"),
            **pace,
            collapsed=training.health.collapsed,
            chance_auc=training.health.chance_auc,
            seconds_left=training.seconds / step * (steps - step),
            processes=run.accelerator.num_processes,
        )


def format_log_line(logs: Logs, pace: dict[str, float], health: Health) -> str:
    """Format the figures of a log line for the progress bar.

    Args:
        logs: the loss, None until the student's first update.
        pace: images per second, fraction of time spent waiting for data, and memory in MiB.
        health: the health of the training.
    """
    loss = "loss –" if logs.get("loss") is None else f"loss {logs['loss']:.4g}"
    parts = [loss, f"{pace['images_per_s']:,.0f} img/s"]
    if pace["wait"] > LOGGED_WAIT_FRACTION:
        parts.append(f"{pace['wait']:.0%} waiting for data")
    if torch.cuda.is_available():
        parts.append(f"{pace['memory_mb'] / 1024:.1f} GiB")
    flagged = {key: value for key in FLAGS if (value := getattr(health, key)) is not None}
    parts += [FLAGS[key].format(value) for key, value in flagged.items()]
    return ", ".join(parts)


def make_pairs(run: Run, stage: Stage, title: str) -> None:
    """Generate and store a teacher's pairs of noise and sample; resume or skip the work if possible.

    Args:
        run: the run that the stage belongs to.
        stage: a stage with pairs.
        title: the stage's number and name, for the progress bar.
    """
    place = run.folder / stage.name
    origin = pairs_origin(run, stage)
    if (notes := pairs.read_pair_notes(place)) and notes["origin"] == origin:
        run.console.print(f"{title}: done, skipped", highlight=False)
        return
    set_aside_others(run, place, origin)
    with bar(run.console, title, stage.pairs.n, pairs.done(place)) as advance:
        teacher = load(model_path(stage.teacher, run.folder))
        pairs.write(place, stage.pairs, teacher, origin, run.accelerator, advance)
    run.accelerator.wait_for_everyone()


def draw(model: Denoiser, run: Run, place: Path, step: int) -> None:
    """Save a sheet of samples in a stage's folder, and send it to the trackers.

    The samples have the classes in turn, or the captions and images of the data. Nothing is saved for samples
    that are neither images nor vectors, such as sound and video.
    """
    if run.accelerator.is_main_process and len(model.image_shape) in (1, 3):
        data = run.dataset.reference
        rows = torch.arange(SHEET_SAMPLES) % len(data)
        samples = sample(
            model.to(run.accelerator.device),
            n=SHEET_SAMPLES,
            guidance=usual_guidance(model),
            labels=torch.arange(SHEET_SAMPLES) % model.classes if model.classes else None,
            prompts=[data.captions[i] for i in rows.tolist()] if model.text and data.captions else None,
            condition_image=as_floats(data.image[rows])
            if model.condition_channels and not model.base
            else None,
        )
        sheet = picture(samples, zoom=4)
        save(sheet, place / "samples" / f"{step:08d}.png")
        log_sheet(run.accelerator, place.name, sheet, step)
