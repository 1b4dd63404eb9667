"""Files that fastdiff ships: found in the source tree, and inside of an installed package."""

from pathlib import Path

from .files import expanded

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE.parent, PACKAGE)  # the source tree, the package of an installed wheel


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the shipped recipes by name, such as digits and methods/ect."""
    folder = next((place / "recipes" for place in PLACES if (place / "recipes").is_dir()), None)
    files = sorted(folder.rglob("*.yaml")) if folder else []
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def shipped(path: str | Path) -> Path | None:
    """Return a path if it exists, else the shipped file or folder of that path; None if there is neither.

    Args:
        path: a path, relative to the working directory; `checkpoints/...` and `recipes/...` are shipped.
    """
    candidates = (expanded(path), *(place / path for place in PLACES))
    return next((candidate for candidate in candidates if candidate.exists()), None)
