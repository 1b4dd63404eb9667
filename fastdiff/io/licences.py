"""Licences of weights and data, as stated in the card (README.md) of a folder or of a hub repository."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.files import read_json

CARD_FILE = "README.md"
UNSTATED = "unknown: none stated"
EMBEDDED_LICENCES = {
    "digits": "cc-by-4.0",
    "toy": "none: drawn at random",
}  # built-in data sets; the digits' licence is as UCI states it
# Front matter that is copied from the card of a model's weights into the card of its student.
COPIED_KEYS = ("license", "license_name", "license_link", "base_model")
MAX_CHARACTERS = 100  # length limit for names from other people's cards
# Restrictions that are visible in a licence's name: pattern -> restriction.
RESTRICTIONS = {
    r"(^|[^a-z])nc([^a-z]|$)|non-?_?commercial": "forbids commercial use",
    r"openrail": "binds every use to its list of restrictions",
}


def card_of(where: str | Path, kind: str = "model") -> dict[str, Any]:
    """Read the front matter of a card.

    Args:
        where: a local folder, or an id on the hub.
        kind: kind of the hub's repository, `model` or `dataset`.

    Returns:
        The front matter; {} if there is no card, if it cannot be read, or if the hub does not answer.
    """
    from huggingface_hub import hf_hub_download, metadata_load

    from . import hub

    try:
        path = Path(where) / CARD_FILE
        if not Path(where).exists() and hub.is_id(str(where)):
            name, _, revision = str(where).partition("@")
            path = hf_hub_download(
                name, CARD_FILE, repo_type=kind, revision=revision or None, etag_timeout=hub.TIMEOUT_SECONDS
            )
        return metadata_load(path) or {}
    except Exception:  # any of the many errors of the network, or broken YAML
        return {}


def line(foreign: Any) -> str:
    """Return untrusted text as one line of at most MAX_CHARACTERS characters."""
    return " ".join(str(foreign).split())[:MAX_CHARACTERS]


def licence(card: dict[str, Any]) -> str:
    """Return the licence that a card's front matter states, as one line."""
    stated = card.get("license")
    if stated == "other":
        stated = card.get("license_name") or stated
    stated = ", ".join(map(str, stated)) if isinstance(stated, list) else line(stated or "")
    return UNSTATED if stated.lower() in ("", "unknown") else stated


def limit(stated: str) -> str | None:
    """Return the restriction that is visible in a licence's name, or None."""
    for pattern, restriction in RESTRICTIONS.items():
        if re.search(pattern, stated.lower()):
            return restriction
    return None


def lineage(
    weights: dict[str, tuple[str, str | Path]], data: tuple[str, str | Path, str] | None = None
) -> dict[str, Any]:
    """Return the origins of a model, as its fastdiff.json records them.

    Args:
        weights: role -> (name, place) of the weights that the model was made from.
        data: (name, place, hub id or "") of the data; None without data.

    Returns:
        A dict with `sources` (role -> name), `licences` (role -> licence) and `card` (front matter for the
        model's own card); and `safeguards` (part -> class), if the models have some.
    """
    from .safeguards import safeguards  # imports torch, which a report does not need

    cards = {role: card_of(where) for role, (_, where) in weights.items()}
    sources = {role: name for role, (name, _) in weights.items()}
    licences = {role: licence(card) for role, card in cards.items()}
    front = {"license": "unknown", **front_matter(list(cards.values()))}
    if bases := hub_names(where for _, where in weights.values()):
        front["base_model"] = bases
    if data:
        name, where, repository = data
        sources["data"] = name
        licences["data"] = EMBEDDED_LICENCES.get(name) or licence(card_of(repository or where, "dataset"))
        if repository:
            front["datasets"] = [repository.partition("@")[0]]
    lost = safeguards(where for _, where in weights.values())
    return {"sources": sources, "licences": licences, "card": front} | ({"safeguards": lost} if lost else {})


def front_matter(cards: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the front matter that a student's card copies from the card with the strictest licence."""
    if not cards:
        return {}
    strictest = min(cards, key=lambda card: (limit(licence(card)) is None, licence(card) == UNSTATED))
    copied = {key: value for key, value in strictest.items() if key in COPIED_KEYS and value}
    return {
        key: [line(entry) for entry in value] if isinstance(value, list) else line(value)
        for key, value in copied.items()
    }


def hub_names(places: Iterable[str | Path]) -> list[str]:
    """Return the sorted names of the hub repositories among some places."""
    from . import hub  # imports torch, which a report does not need

    ids = [str(place) for place in places if not Path(place).exists() and hub.is_id(str(place))]
    return sorted({name.partition("@")[0] for name in ids})


def limits(run_dir: str | Path) -> list[str]:
    """Return one line per licence of a run's models that forbids or requires something."""
    models: dict[tuple[str, str], list[str]] = {}
    for path in sorted(Path(run_dir).glob("*/fastdiff.json")):
        for role, stated in noted_licences(path):
            if limit(stated):
                models.setdefault((role, stated), []).append(path.parent.name)
    return [
        f"The {role} of {enumeration(names)} is under {stated}, which {limit(stated)}."
        for (role, stated), names in models.items()
    ]


def noted_licences(path: Path) -> list[tuple[str, str]]:
    """Return the (role, licence) pairs in a fastdiff.json; [] for a damaged file, which `load` reports."""
    try:
        noted = read_json(path).get("licences", {})
        return [(str(role), str(stated)) for role, stated in noted.items()]
    except (OSError, ValueError, AttributeError):
        return []


def enumeration(names: list[str]) -> str:
    """Join names as `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
