"""The card of an exported model, README.md: front matter, script, figures, recipe and licences."""

from pathlib import Path
from typing import Any

import yaml

from ...core.denoiser import Denoiser
from ...core.files import atomic_write
from ...core.templates import render
from ..licences import CARD_FILE, limit
from .script import script

TEMPLATE = Path(__file__).with_name("card.md.j2")


def write(
    folder: Path, model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = ""
) -> None:
    """Write the card of a model into its folder; arguments as those of `text`."""
    with atomic_write(folder / CARD_FILE, sync=False) as scratch:
        scratch.write_text(text(model, notes, name, recipe, table), encoding="utf-8")


def text(model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = "") -> str:
    """Return the card.

    Args:
        model: the model.
        notes: those of its fastdiff.json.
        name: the title.
        recipe: YAML of the run that made it; "" for none.
        table: Markdown of its figures; "" for none.
    """
    front = yaml.safe_dump(front_matter(model, notes), sort_keys=False)
    python, why = script(model)
    body = render(
        TEMPLATE,
        title=name,
        description=description(model, notes),
        python=python,
        why=why,
        licences=licence_lines(notes),
        recipe=recipe.strip(),
        table=table.strip(),
    )
    return f"---\n{front}---\n\n{body}\n"


def front_matter(model: Denoiser, notes: dict[str, Any]) -> dict[str, Any]:
    """Return what the hub reads of a card."""
    method = notes.get("method")
    images = len(model.shape) == 3
    front: dict[str, Any] = {
        "library_name": "diffusers" if images else "fastdiff",
        "tags": ["diffusion", "distillation", "few-step", "fastdiff"],
    }
    if method:
        front["tags"].append(method)
    if images:
        front["pipeline_tag"] = task(model)
    front["license"] = "unknown"
    front.update(notes.get("card", {}))
    return front


def task(model: Denoiser) -> str:
    """Return the task of a model of images, by its name on the hub."""
    if model.text:
        return "text-to-image"
    if model.condition_channels and not model.base:
        return "image-to-image"
    return "unconditional-image-generation"


def description(model: Denoiser, notes: dict[str, Any]) -> str:
    """Describe the model, its origin and cost, and how it is sampled."""
    size = " x ".join(map(str, model.image_shape))
    unit = "images" if len(model.shape) > 1 else "numbers"
    params = sum(p.numel() for p in model.parameters())
    sampling = model.sampling
    counts = ", ".join(map(str, sampling.steps))
    plural = "" if sampling.steps == (1,) else "s"
    only = " and no other" if sampling.only else ""
    sentences = [
        f"A diffusion model of {size} {unit}, {params:,} parameters, which predicts {model.predicts} on the "
        f"schedule {model.schedule}.",
        origin(notes),
        f"It is sampled by {sampling.sampler} on the grid {sampling.spacing}, at {counts} "
        f"step{plural}{only}.",
    ]
    if notes.get("collapsed") is not None:
        sentences.append(f"Its training collapsed: its samples cover {notes['collapsed']:.0%} of the data.")
    if notes.get("lora"):
        sentences.append(adapter(notes["lora"]))
    return " ".join(sentences)


def origin(notes: dict[str, Any]) -> str:
    """Describe in a sentence the method and the sources that the model was made by, and the cost."""
    sources = ", ".join(f"{role} {source}" for role, source in notes.get("sources", {}).items())
    cost = notes.get("cost") or {}
    units = {"images": "images", "seconds": "seconds", "teacher_nfe": "evaluations of the teacher"}
    spent = ", ".join(f"{cost[key]:,.0f} {unit}" for key, unit in units.items() if cost.get(key))
    sentence = f"Trained by the method {notes['method']}" if notes.get("method") else "Made elsewhere"
    if sources:
        sentence += f" ({sources})"
    if spent:
        sentence += f", which took {spent}"
    return f"{sentence}."


def adapter(lora: dict[str, Any]) -> str:
    """Describe the low-rank adapter next to the merged weights."""
    library, reader = lora["read_by"].split()
    return (
        f"What it learned, an adapter of rank {lora['rank']}, is also in `lora/` by itself: `{reader}` of "
        f"{library} puts it on the teacher."
    )


def licence_lines(notes: dict[str, Any]) -> list[str]:
    """Return a line for each source, with what its licence is known to forbid or require."""
    sources = notes.get("sources", {})
    lines = []
    for role, stated in notes.get("licences", {}).items():
        restriction = limit(stated)
        clause = f", which {restriction}" if restriction else ""
        lines.append(f"{role} {sources.get(role, '')}: {stated}{clause}")
    return lines or ["Nothing is known of the origin of its weights."]
