"""References of a recipe to models and pairs: the names of its stages, paths, and ids on the hub."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import FastdiffError
from ..core.registry import known_name
from ..core.validation import named, suggestion
from ..methods import METHODS

if TYPE_CHECKING:
    from .stage_config import StageSpec

TEACHER = "teacher"  # the name by which stages refer to the recipe's own teacher


def is_path(reference: str) -> bool:
    """Return whether a reference is a path or a hub id, rather than the name of a stage."""
    return any(mark in reference for mark in "/.~")


def resolved(
    path: str, reference: str | None, stages: Collection[str], what: str = "an earlier stage"
) -> str | None:
    """Return a reference as a stage's name, a path or a hub id; None for no reference.

    The name of an existing folder becomes a path, `sd` to `./sd`, unless a stage has the same name.

    Args:
        path: path of the setting, for errors.
        reference: the name of a stage or a folder, a path or a hub id.
        stages: names of the stages that it may refer to.
        what: kind of those stages, for errors.

    Raises:
        FastdiffError: for any other name.
    """
    name = re.sub(r"@\d+$", "", reference or "")  # NAME@STEP is a step of the stage's training
    if not reference or name in stages or is_path(reference):
        return reference
    if Path(reference).is_dir():
        return f"./{reference}"
    raise FastdiffError(f"{path}: {reference!r} is neither {what} nor a path{suggestion(reference, stages)}")


def outside_teacher(reference: str | None, stages: Collection[str]) -> str | None:
    """Return the recipe's own teacher as a path or hub id; None if it has none.

    Args:
        reference: the recipe's `teacher`.
        stages: names of its stages.

    Raises:
        FastdiffError: if it is neither a path nor an id, or a stage has the name `teacher`.
    """
    if reference and TEACHER in stages:
        raise FastdiffError("teacher: the recipe also has a stage of this name; rename it, or leave one out")
    return resolved(TEACHER, reference, (), "a folder")


def with_teacher(section: "StageSpec", teacher: str | None) -> "StageSpec":
    """Return a stage's section with the recipe's own teacher in the place of the name `teacher`.

    It is also the teacher of a stage of pairs, and of one whose method needs a teacher, if they name none.
    """
    if teacher is None:
        return section
    references = {role: getattr(section, role) for role in (TEACHER, "init", "base")}
    own = {role: teacher for role, reference in references.items() if reference == TEACHER}
    if section.teacher is None and needs_teacher(section):
        own[TEACHER] = teacher
    return section.model_copy(update=own)


def needs_teacher(section: "StageSpec") -> bool:
    """Return whether a stage needs a teacher: for pairs, or because its method says so of all settings."""
    if section.pairs is not None or section.method is None:
        return section.pairs is not None
    name, _ = named(section.method, "method")
    return getattr(METHODS.get(known_name(name, METHODS)), "needs_teacher", False) is True
