"""Licences of weights and data, as their cards state them: README.md of a folder, or of a repository on the hub."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.files import read_json

CARD = "README.md"
UNSTATED = "unknown: none stated"
KNOWN = {"digits": "cc-by-4.0", "toy": "none: drawn at random"}  # of the embedded data, the digits' as UCI's
COPIED = (
    "license",
    "license_name",
    "license_link",
    "base_model",
)  # from the card of weights into that of a student
LONGEST = 100  # characters of a foreign name
# What a licence's name tells of it.
LIMITS = {
    r"(^|[^a-z])nc([^a-z]|$)|non-?_?commercial": "forbids commercial use",
    r"openrail": "binds every use to its list of restrictions",
}


def card_of(where: str | Path, kind: str = "model") -> dict[str, Any]:
    """The front matter of a local folder's card, or of one on the hub; {} where there is none, or the hub has no answer."""
    from huggingface_hub import hf_hub_download, metadata_load

    from . import hub

    try:
        path = Path(where) / CARD
        if not Path(where).exists() and hub.is_id(str(where)):
            name, _, revision = str(where).partition("@")
            path = hf_hub_download(
                name, CARD, repo_type=kind, revision=revision or None, etag_timeout=hub.SECONDS
            )
        return metadata_load(path) or {}
    except Exception:  # of the network's many kinds, or of broken YAML
        return {}


def line(foreign: Any) -> str:
    """A text from elsewhere as one short line."""
    return " ".join(str(foreign).split())[:LONGEST]


def licence(card: dict[str, Any]) -> str:
    """What a card says, in a line."""
    stated = card.get("license")
    if stated == "other":
        stated = card.get("license_name") or stated
    stated = ", ".join(map(str, stated)) if isinstance(stated, list) else line(stated or "")
    return UNSTATED if stated.lower() in ("", "unknown") else stated


def limit(stated: str) -> str | None:
    """What a licence forbids or asks, as far as its name tells."""
    return next((what for pattern, what in LIMITS.items() if re.search(pattern, stated.lower())), None)


def lineage(
    weights: dict[str, tuple[str, str | Path]], data: tuple[str, str | Path, str] | None = None
) -> dict[str, Any]:
    """What fastdiff.json notes of a model's origins: sources, licences, and the front matter that its card takes over.

    weights: by role, a name and where they are; data: the name, where they are, and their id on the hub or
    "".
    """
    from . import hub  # it knows of weights, and so of torch, which a report does without

    cards = {role: card_of(where) for role, (_, where) in weights.items()}
    licences = {role: licence(card) for role, card in cards.items()}
    strictest = sorted(
        cards.values(), key=lambda card: (limit(licence(card)) is None, licence(card) == UNSTATED)
    )
    front = {
        key: list(map(line, value)) if isinstance(value, list) else line(value)
        for key, value in (strictest or [{}])[0].items()
        if key in COPIED and value
    }
    if bases := [
        str(where).partition("@")[0]
        for _, where in weights.values()
        if not Path(where).exists() and hub.is_id(str(where))
    ]:
        front["base_model"] = sorted(set(bases))
    sources = {role: name for role, (name, _) in weights.items()}
    if data:
        name, where, repository = data
        sources["data"] = name
        licences["data"] = KNOWN.get(name) or licence(card_of(repository or where, "dataset"))
        front |= {"datasets": [repository.partition("@")[0]]} if repository else {}
    return {"sources": sources, "licences": licences, "card": {"license": "unknown"} | front}


def limits(run_dir: str | Path) -> list[str]:
    """A line for each licence of the models below a run's folder that forbids or asks something."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(Path(run_dir).glob("*/fastdiff.json")):
        for role, stated in _noted(path):
            if limit(stated):
                found.setdefault((role, stated), []).append(path.parent.name)
    return [
        f"The {role} of {_listed(models)} is under {stated}, which {limit(stated)}."
        for (role, stated), models in found.items()
    ]


def _noted(path: Path) -> Iterable[tuple[str, str]]:
    try:
        noted = read_json(path).get("licences", {})
        return [(str(role), str(stated)) for role, stated in noted.items()]
    except (OSError, ValueError, AttributeError):  # what is damaged is said by who opens it
        return []


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
