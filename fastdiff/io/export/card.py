"""The model card (README.md) of an export: front matter, script, benchmark figures, recipe and licences."""

from pathlib import Path
from typing import Any

import yaml

from ...core.denoiser import Denoiser
from ...core.files import atomic_write
from ...core.templates import render
from ...networks.own import is_own
from ..licences import CARD_FILE, limit
from ..safeguards import described
from .script import script

TEMPLATE = Path(__file__).with_name("card.md.j2")


def write(
    folder: Path, model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = ""
) -> None:
    """Write the card of a model into its folder; see `text` for the other arguments."""
    with atomic_write(folder / CARD_FILE, sync=False) as scratch:
        scratch.write_text(text(model, notes, name, recipe, table), encoding="utf-8")


def text(model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = "") -> str:
    """Return the text of a model's card.

    Args:
        model: the model.
        notes: the contents of its fastdiff.json.
        name: title of the card.
        recipe: recipe of the run that trained the model, as YAML; "" for none.
        table: table of its benchmark figures, as Markdown; "" for none.
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
        safeguards=described(notes.get("safeguards", {})),
        recipe=recipe.strip(),
        table=table.strip(),
    )
    return f"---\n{front}---\n\n{body}\n"


def front_matter(model: Denoiser, notes: dict[str, Any]) -> dict[str, Any]:
    """Return the front matter of a card, which the hub reads."""
    method = notes.get("method")
    images = len(model.shape) == 3
    front: dict[str, Any] = {
        "library_name": "diffusers" if images and not is_own(model.net) else "fastdiff",
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
    """Return the hub's name for the task of an image model."""
    if model.text:
        return "text-to-image"
    if model.condition_channels and not model.base:
        return "image-to-image"
    return "unconditional-image-generation"


def description(model: Denoiser, notes: dict[str, Any]) -> str:
    """Return sentences on the model, its origin and cost, and its default sampler."""
    size = " x ".join(map(str, model.image_shape))
    unit = "images" if len(model.shape) > 1 else "numbers"
    params = sum(p.numel() for p in model.parameters())
    sampling = model.sampling
    counts = ", ".join(map(str, sampling.steps))
    plural = "" if sampling.steps == (1,) else "s"
    only = " only" if sampling.only else ""
    way = f"{sampling.sampler}, {sampling.spacing} grid, {counts} step{plural}{only}"
    sentences = [
        f"A diffusion model of {size} {unit} with {params:,} parameters, which predicts {model.predicts} on "
        f"the schedule {model.schedule}.",
        origin(notes),
        f"Default sampler: {'; '.join([way, *sampling.remarks])}.",
    ]
    if notes.get("collapsed") is not None:
        sentences.append(f"Its training collapsed: its samples cover {notes['collapsed']:.0%} of the data.")
    if notes.get("chance_auc") is not None:
        sentences.append(
            "Its discriminator distinguished real from generated samples no better than chance (AUC "
            f"{notes['chance_auc']:.2f})."
        )
    if notes.get("lora"):
        sentences.append(adapter(notes["lora"]))
    if plugins := notes.get("plugins"):
        files = ", ".join(f"`{name}` (SHA-256 {value[:12]})" for name, value in plugins.items())
        sentences.append(f"Its training had loaded own code: {files}.")
    return " ".join(sentences)


def origin(notes: dict[str, Any]) -> str:
    """Return a sentence on the method and sources that the model was trained with, and on the cost."""
    sources = ", ".join(f"{role} {source}" for role, source in notes.get("sources", {}).items())
    cost = notes.get("cost") or {}
    units = {"images": "images", "seconds": "seconds", "teacher_nfe": "evaluations of the teacher"}
    spent = ", ".join(f"{cost[key]:,.0f} {unit}" for key, unit in units.items() if cost.get(key))
    known = notes.get("method")
    sentence = f"Trained with the method {known}" if known else "Trained with another program"
    if sources:
        sentence += f" ({sources})"
    if spent:
        sentence += f", which took {spent}"
    return f"{sentence}."


def adapter(lora: dict[str, Any]) -> str:
    """Return a sentence on the low-rank adapter that is stored next to the merged weights."""
    library, reader = lora["read_by"].split()
    return (
        f"Its weights are the teacher's with a merged LoRA adapter of rank {lora['rank']}, which is also "
        f"stored separately in `lora/`: load it onto the teacher with `{reader}` of {library}."
    )


def licence_lines(notes: dict[str, Any]) -> list[str]:
    """Return one line per source with its licence, and with the restriction that the licence's name shows."""
    sources = notes.get("sources", {})
    lines = []
    for role, stated in notes.get("licences", {}).items():
        restriction = limit(stated)
        clause = f", which {restriction}" if restriction else ""
        lines.append(f"{role} {sources.get(role, '')}: {stated}{clause}")
    return lines or ["The origin of the weights is unknown."]
