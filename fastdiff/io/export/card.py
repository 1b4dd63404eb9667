"""The card of an exported model: README.md with front matter for the hub, a script, figures, recipe and licences."""

import os
from pathlib import Path
from typing import Any

import yaml

from ...core.denoiser import Denoiser
from ..licences import CARD, limit
from .script import script


def write(
    folder: Path, model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = ""
) -> None:
    """Write the card beside a model. notes: those of its fastdiff.json; recipe: YAML, and table: Markdown, if there are."""
    scratch = folder / f".{CARD}.new"
    scratch.write_text(text(model, notes, name, recipe, table), encoding="utf-8")
    os.replace(scratch, folder / CARD)


def text(model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = "") -> str:
    """The card."""
    from jinja2 import Environment, FileSystemLoader

    method, images = notes.get("method"), len(model.shape) == 3
    front = {
        "library_name": "diffusers" if images else "fastdiff",
        "tags": ["diffusion", "distillation", "few-step", "fastdiff", *([method] if method else [])],
    }
    front |= {"pipeline_tag": task(model)} if images else {}
    front |= {"license": "unknown"} | notes.get("card", {})
    python, why = script(model)
    rooms = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    body = rooms.get_template("card.md.j2").render(
        title=name,
        what=described(model, notes),
        python=python,
        why=why,
        licences=licences(notes),
        recipe=recipe.strip(),
        table=table.strip(),
    )
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{body}\n"


def task(model: Denoiser) -> str:
    """What it does, as the hub calls it."""
    if model.text:
        return "text-to-image"
    return (
        "image-to-image" if model.condition_channels and not model.base else "unconditional-image-generation"
    )


def described(model: Denoiser, notes: dict[str, Any]) -> str:
    """What the model is, what it was made from and at what cost, and how it is sampled."""
    own, cost, sources = model.sampling, notes.get("cost") or {}, notes.get("sources", {})
    origins = ", ".join(f"{role} {source}" for role, source in sources.items())
    spent = ", ".join(
        f"{cost[key]:,.0f} {what}"
        for key, what in (
            ("images", "images"),
            ("seconds", "seconds"),
            ("teacher_nfe", "evaluations of the teacher"),
        )
        if cost.get(key)
    )
    made = f"Trained by the method {notes['method']}" if notes.get("method") else "Made elsewhere"
    return " ".join(
        [
            f"A diffusion model of {' x '.join(map(str, model.image_shape))} {'images' if len(model.shape) > 1 else 'numbers'}, "
            f"{sum(p.numel() for p in model.parameters()):,} parameters, which predicts {model.predicts} on the schedule "
            f"{model.schedule}.",
            f"{made}{f' ({origins})' if origins else ''}{f', which took {spent}' if spent else ''}.",
            f"It is sampled by {own.sampler} on the grid {own.spacing}, at {', '.join(map(str, own.steps))} "
            f"step{'s' * (own.steps != (1,))}{' and no other' if own.only else ''}.",
            *collapse(notes),
            *adapter(notes),
        ]
    )


def collapse(notes: dict[str, Any]) -> list[str]:
    """That its samples are too much alike, where they are."""
    share = notes.get("collapsed")
    return [] if share is None else [f"Its training collapsed: its samples cover {share:.0%} of the data."]


def adapter(notes: dict[str, Any]) -> list[str]:
    """What a low-rank adapter beside the merged weights is for, where there is one."""
    if not notes.get("lora"):
        return []
    library, reader = notes["lora"]["read_by"].split()
    return [
        f"What it learned, an adapter of rank {notes['lora']['rank']}, is also in `lora/` by itself: `{reader}` of "
        f"{library} puts it on the teacher."
    ]


def licences(notes: dict[str, Any]) -> list[str]:
    """A line for each source, with what its licence is known to forbid or ask."""
    sources = notes.get("sources", {})
    return [
        f"{role} {sources.get(role, '')}: {stated}{f', which {limit(stated)}' if limit(stated) else ''}"
        for role, stated in notes.get("licences", {}).items()
    ] or ["Nothing is known of the origin of its weights."]
