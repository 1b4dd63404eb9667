"""One stage of a run: a student trained and exported, or a teacher's pairs stored."""

import time
import zlib
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import read_json, write_json
from ..core.guidance import usual_guidance
from ..core.validation import named
from ..data.batch import as_floats
from ..data.image_grid import picture, save
from ..data.latents import embedded, encoded
from ..data.registry import DATASETS, Nothing, Readable, hub_id
from ..data.toys import nothing
from ..evaluation.sweep import check_fit
from ..io import hub
from ..io.export.model import export
from ..io.fingerprint import fingerprint
from ..io.licences import lineage
from ..io.load import ABOUT, about, load
from ..methods import Progress as Clock
from ..networks.lora import twin
from ..samplers.generate import sample
from ..samplers.plan import plan
from ..training import malloc as heap
from ..training import pairs
from ..training.loop import Training
from ..training.signals import Signals
from .cards import beside
from .checks import check_base, check_data
from .progress_bar import bar
from .recipe import Recipe, Stage
from .status import note

SHOWN = 64  # samples drawn of a stage


@dataclass(frozen=True)
class Run:
    """What the stages of a run share. folder: the run's directory."""

    recipe: Recipe
    dataset: Readable
    folder: Path
    accelerator: Accelerator
    console: Console
    signals: Signals


def train(run: Run, stage: Stage, title: str) -> None:
    """Train, resume or skip a stage, and export its average."""
    if stage.own is not None:
        recipe = run.recipe.of(stage)
        run = replace(run, recipe=recipe, dataset=recipe.dataset())
    folder, accelerator = run.folder, run.accelerator
    place, stored = folder / stage.name, stage.data and pairs_at(stage.data, folder)
    data = pairs.read(stored, run.dataset) if stored else run.dataset
    origin = {
        "method": {"name": stage.method_name, **described(stage.method)},
        "data": data.fingerprint,
        **{
            role: fingerprint(where(reference, folder)) if reference else None
            for role, reference in (("teacher", stage.teacher), ("init", stage.init or stage.teacher))
        },
        **beneath(run, stage),
    }
    if (notes := about(place)) and notes.get("origin") == origin:
        return
    forget_others(run, place, origin)
    config = replace(stage.train, seed=stage.train.seed ^ zlib.crc32(stage.name.encode()))
    torch.manual_seed(config.seed)
    student, teacher = networks(run, stage, stored and data)
    data = data if stored else learned(run, student)
    training = Training(stage.method, Clock, student, teacher, data, config, place, accelerator, run.signals)
    with bar(run.console, title, config.steps, training.step) as advance, heap.kept(), run.signals.heeded():
        for step, logs in training:
            advance(step, told(logs, training.pace, training.health.collapsed) if logs else None)
            if logs:
                publish(run, stage.name, title, training, logs)
            if config.sample_every and step % config.sample_every == 0:
                draw(training.result(), run, place / "samples" / f"{step:08d}.png")
    model = training.result().on_top_of(load(where(stage.base, folder)) if stage.base else None)
    draw(model, run, place / "samples" / f"{config.steps:08d}.png")
    collapsed = training.health.collapsed
    if collapsed is not None:
        run.console.print(
            f"{stage.name}: collapsed, its samples cover {collapsed:.0%} of the data", highlight=False
        )
    if accelerator.is_main_process:
        asked = round(training.images * stage.method.teacher_nfe()) + (
            pairs.about(stored)["nfe"] if stored else 0
        )
        cost = {"images": training.images, "seconds": training.seconds, "teacher_nfe": asked}
        dtype = {"float32": torch.float32, "float16": torch.float16}[config.export]
        notes = {
            "method": stage.method_name,
            "origin": origin,
            "ema": config.ema,
            "cost": cost,
            **sources(run, stage),
        }
        notes |= {} if collapsed is None else {"collapsed": collapsed}
        export(model, place, notes, dtype, **beside(place))
    accelerator.wait_for_everyone()
    accelerator.free_memory()


def beneath(run: Run, stage: Stage) -> dict[str, str]:
    """Fingerprints of what a stage's model stands on besides what it starts from: autoencoder, text encoder, base."""
    parts = (
        {} if stage.init or stage.teacher else dict(zip(("latent", "text"), run.recipe.model.companions()))
    )
    found = {name: part.fingerprint for name, part in parts.items() if part}
    return found | ({"base": fingerprint(where(stage.base, run.folder))} if stage.base else {})


def learned(run: Run, model: Denoiser) -> Readable:
    """The run's data as a model learns from them: encoded into its latents, captions embedded."""
    data = run.dataset
    if isinstance(data, Nothing) and not model.text:
        return nothing(model.shape, data.classes)
    for what, companion, make in (
        ("encoding images", model.latent, encoded),
        ("embedding captions", model.text, embedded),
    ):
        if companion:
            with bar(run.console, what, len(data), 0) as advance:
                data = make(data, companion, run.accelerator, advance)
    return data


def sources(run: Run, stage: Stage) -> dict[str, Any]:
    """What a stage's model comes from, by name and licence; of a path its last part, as cards are published."""

    def called(reference: str) -> str:
        return reference if hub.is_id(reference) else Path(reference).name

    name, options = named(run.recipe.source["data"], "data")
    place, revision = (
        str(options.get("path", name)),
        {"revision": run.recipe.revision} if run.recipe.revision else {},
    )
    weights = {
        role: (called(reference), where(reference, run.folder))
        for role, reference in (("teacher", stage.teacher), ("init", stage.init), ("base", stage.base))
        if reference
    }
    if not (stage.teacher or stage.init):
        own = {"autoencoder": run.recipe.model.autoencoder, "text": run.recipe.model.text}
        weights |= {role: (called(reference), reference) for role, reference in own.items() if reference}
    if isinstance(run.dataset, Nothing):
        return lineage(weights)
    repository = hub_id(name, options | revision) or ""
    return lineage(
        weights, (repository or (name if place == name in DATASETS else Path(place).name), place, repository)
    )


def networks(run: Run, stage: Stage, stored: Readable | None) -> tuple[Denoiser, Denoiser | None]:
    """A stage's student and teacher; what does not fit is refused now, and not after days of training. stored: pairs."""
    source = stage.init or stage.teacher
    begun = load(where(source, run.folder)) if source else run.recipe.fresh_model(run.dataset)
    adapter, own = stage.train.lora, source == stage.teacher
    alike = not stage.train.offload and stage.train.teacher == "float32"
    first = twin(begun) if adapter and own and alike else None  # one memory for the teacher's weights
    student, told, two = stage.method.student(begun), begun.guidance, begun.two_times
    if adapter and (bool(student.guidance), student.two_times) != (bool(told), two):
        raise FastdiffError(
            f"stage {stage.name}: train.lora: {stage.method_name} gives the network an input of its own, "
            "which no adapter learns: leave out lora, or set the method's weights to one number, [w, w]"
        )
    teacher = (
        (first or load(where(stage.teacher, run.folder))).on(student.schedule) if stage.teacher else None
    )
    if student.latent and stage.train.flip:
        raise FastdiffError(
            f"stage {stage.name}.train.flip: mirrored latents are not those of the mirrored image"
        )
    for reference, model in ((source or "its network", student), (stage.teacher, teacher)):
        check_data(f"stage {stage.name}: {reference}", model, stored or run.dataset, bool(stored))
    if told != (teacher.guidance if teacher else None):  # it would forget it, or could not follow it
        one, other = (source, stage.teacher or "what it learns from") if told else (stage.teacher, source)
        raise FastdiffError(
            f"stage {stage.name}: {one} is told a weight of guidance, and {other} is not told the same: "
            "leave out init, or choose a teacher that fits it"
        )
    bench = run.recipe.bench
    if stage.judged and (bench.models is None or stage.name in bench.models):
        check_fit(stage.name, student, run.dataset.reference, bench)
    if stage.base:
        check_base(stage, student, load(where(stage.base, run.folder)), run.dataset)
    student.sampling = stage.method.sampling()
    plan(student)  # what cannot be sampled is not worth training
    stage.method.ready(student.shape, run.accelerator.device)
    return student, teacher


def publish(run: Run, name: str, title: str, training: Training, logs: dict[str, Any]) -> None:
    """A line of the log for the trackers and for `fastdiff status`."""
    step, steps, pace = training.step, training.config.steps, training.pace
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
            seconds_left=training.seconds / step * (steps - step),
            processes=run.accelerator.num_processes,
        )


def told(logs: dict[str, Any], pace: dict[str, float], collapsed: float | None) -> str:
    """A line of the log in a few words."""
    loss = (
        "loss –" if logs.get("loss") is None else f"loss {logs['loss']:.4g}"
    )  # or the student has not learned yet
    waits = f", {pace['wait']:.0%} waiting for data" if pace["wait"] > 0.05 else ""
    memory = f", {pace['memory_mb'] / 1024:.1f} GiB" if torch.cuda.is_available() else ""
    fallen = "" if collapsed is None else f", COLLAPSED: {collapsed:.0%} of the data covered"
    return f"{loss}, {pace['images_per_s']:,.0f} img/s{waits}{memory}{fallen}"


def make_pairs(run: Run, stage: Stage, title: str) -> None:
    """Store a teacher's pairs, unless they are there."""
    place, teacher = run.folder / stage.name, where(stage.teacher, run.folder)
    origin = {"pairs": described(stage.pairs), "teacher": fingerprint(teacher)}
    if (notes := pairs.about(place)) and notes["origin"] == origin:
        return
    forget_others(run, place, origin)
    with bar(run.console, title, stage.pairs.n, pairs.done(place)) as advance:
        pairs.write(place, stage.pairs, load(teacher), origin, run.accelerator, advance)
    run.accelerator.wait_for_everyone()


def pairs_at(reference: str, folder: Path) -> Path:
    """A stage's folder of pairs, or the path as given."""
    own = folder / reference
    return own if pairs.about(own) else Path(reference).expanduser()


def described(method: Any) -> dict[str, Any]:
    """The settings that are not the method's defaults: an option that comes later leaves finished stages as they are."""
    own = {
        f.name: getattr(method, f.name)
        for f in fields(method)
        if getattr(method, f.name) != (f.default if f.default_factory is MISSING else f.default_factory())
    }
    return {
        name: value if isinstance(value, str | int | float | None) else repr(value)
        for name, value in own.items()
    }


def where(reference: str, folder: Path) -> Path | str:
    """A stage's folder, or the path or hub id as given."""
    if (folder / reference / ABOUT).exists():
        return folder / reference
    if not any(mark in reference for mark in "/.~"):  # the recipe took it for a stage
        raise FastdiffError(
            f"stage {reference} is not trained yet: run it first, with --only {reference} or without --only"
        )
    return reference


def forget_others(run: Run, place: Path, origin: dict[str, Any]) -> None:
    """Set aside what an earlier teacher or data left in a stage's folder, and note whose it is now."""
    if run.accelerator.is_main_process:
        path = place / "origin.json"
        try:
            theirs = read_json(path) if path.exists() else origin
        except ValueError as error:
            raise FastdiffError(f"{path} is damaged ({error}): remove {place} to train it again") from None
        if theirs != origin:
            aside = place.with_name(f"{place.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            run.console.print(
                f"{place.name}: made from another teacher or data, started over; the old one is kept as "
                f"{aside.name}"
            )
            place.replace(aside)
        place.mkdir(parents=True, exist_ok=True)
        write_json(path, origin)
    run.accelerator.wait_for_everyone()


def draw(model: Denoiser, run: Run, path: Path) -> None:
    """Samples of a model, as it is meant to be sampled, as one sheet: of each class in turn, or of what the data tell.

    Of sound and video there is none.
    """
    if run.accelerator.is_main_process and len(model.image_shape) in (1, 3):
        data, classes = run.dataset.reference, model.classes
        of = torch.arange(SHOWN) % len(data)
        shown = sample(
            model.to(run.accelerator.device),
            n=SHOWN,
            guidance=usual_guidance(model),
            labels=torch.arange(SHOWN) % classes if classes else None,
            prompts=[data.captions[i] for i in of.tolist()] if model.text and data.captions else None,
            image=as_floats(data.image[of]) if model.condition_channels and not model.base else None,
        )
        save(picture(shown, zoom=4), path)
