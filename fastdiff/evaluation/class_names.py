"""Classes of two data sets, or of a model and a data set, compared by their names."""

from collections.abc import Sequence

from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Dataset, Readable
from ..samplers.conditions import check_labels

LISTED = 12  # names in an error


def places(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Return the index in `others` of each of some class names; None if one is not among them.

    Case does not matter. Names that are numbers are indices, if they are not names in `others`.
    """
    index = {name.casefold(): i for i, name in enumerate(others)}
    if all(name.casefold() in index for name in names):
        return [index[name.casefold()] for name in names]
    if all(name.isascii() and name.isdecimal() and int(name) < len(others) for name in names):
        return [int(name) for name in names]
    return None


def check_classes(what: str, model: Denoiser, data: Readable, names: Sequence[str]) -> None:
    """Check that the labels of a data set mean the classes of a model.

    Args:
        what: the model, for the error.
        model: the model; it passes if it or the data have no classes.
        data: the data set.
        names: names of the model's classes; () if unknown, which leaves their number to compare.

    Raises:
        FastdiffError: if the classes differ in number, in their names or in their order.
    """
    if model.classes is None or data.labels is None:
        return
    check_labels(model, data.labels)
    numbered = tuple(map(str, range(model.classes)))
    own = tuple(names) if len(names) == model.classes else numbered
    unknown = own == numbered and data.classes == model.classes
    if not unknown and data.names and places(data.names, own) != list(range(data.classes)):
        raise FastdiffError(
            f"{what} has {model.classes} classes, {listed(own)}, and the data {data.name} have "
            f"{data.classes}, {listed(data.names)}: expected the same names in the same order, or numbers"
        )
    if not data.names and data.classes != model.classes:
        raise FastdiffError(
            f"{what} has {model.classes} classes, and the data {data.name} have {data.classes}: expected the "
            "same number"
        )


def recorded_names(model: Denoiser, data: Readable) -> list[str]:
    """Return the names of a model's classes for its metadata; [] for none, and where they are numbers."""
    numbered = tuple(map(str, range(len(data.names))))
    fits = model.classes is not None and len(data.names) == model.classes
    return list(data.names) if fits and tuple(data.names) != numbered else []


def matched_labels(made: Dataset, real: Dataset) -> Tensor | None:
    """Return the labels of generated images as classes of the real data; None if they have no such labels.

    Classes are matched by their names, and by their order if the names of one data set are unknown.

    Args:
        made: the generated images.
        real: the real data.

    Raises:
        FastdiffError: if some classes have the same names and others not, or none of equally many.
    """
    if made.labels is None or real.labels is None:
        return None
    if not (made.names and real.names):
        return made.labels if made.classes == real.classes else None
    found = places(made.names, real.names)
    if found is not None:
        return made.labels.new_tensor(found)[made.labels]
    common = {name.casefold() for name in made.names} & {name.casefold() for name in real.names}
    if common or made.classes == real.classes:
        raise FastdiffError(
            f"data {made.name} have the classes {listed(made.names)}, and {real.name} have "
            f"{listed(real.names)}: expected the same names, or numbers; rename them, or evaluate the images "
            "without classes"
        )
    return None


def listed(names: Sequence[str]) -> str:
    """Return names in one line, cut after the first few."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
