"""The option --labels: classes as numbers, or as the names that a model was trained with."""

from ..core.errors import FastdiffError
from ..core.wording import suggestion
from .options import integers


def classes_of(labels: str | None, n: int, model: str) -> tuple[int, ...] | None:
    """Return the classes of --labels; None without the option.

    Args:
        labels: value of the option: numbers or names of classes, separated by commas.
        n: number of samples.
        model: path or hub id of the model, whose metadata have the names.

    Raises:
        FastdiffError: for an unknown name, and for another number of classes than 1 or n.
    """
    if labels is None:
        return None
    words = [word.strip() for word in labels.split(",")]
    names = () if all(word.lstrip("-").isdecimal() for word in words) else names_of(model)
    classes = tuple(place(word, names) for word in words) if names else integers("--labels", labels)
    if len(classes) not in (1, n):
        raise FastdiffError(f"--labels: {len(classes)} labels, expected 1 or n = {n}")
    return classes


def names_of(model: str) -> tuple[str, ...]:
    """Return the names of the classes in a model's metadata; () if it has none."""
    from ..core.files import expanded
    from ..io.load import model_folder, read_metadata

    notes = read_metadata(expanded(model_folder(model)))
    return tuple((notes or {}).get("class_names", ()))


def place(word: str, names: tuple[str, ...]) -> int:
    """Return the number of a class, given as a name in any case or as the number itself."""
    if word.lstrip("-").isdecimal():
        return int(word)
    known = [name.casefold() for name in names]
    if word.casefold() not in known:
        raise FastdiffError(f"--labels {word}: no class of the model has this name{suggestion(word, names)}")
    return known.index(word.casefold())
