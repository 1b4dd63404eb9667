"""Registries: functions or classes by name, which is found in any case."""

from collections.abc import Iterable
from typing import NoReturn, TypeVar

from .wording import nearest

Value = TypeVar("Value")


def known_name(name: str, known: Iterable[str]) -> str:
    """Return a name as it is registered, such as `dpmpp_2m` for `DPMpp-2M`.

    Args:
        name: the name in any case, with - or _; options in brackets after it are kept as they are.
        known: the registered names.

    Returns:
        The registered name, with the options; the name itself if there is no such name, or more than one.
    """
    known = list(known)
    word, bracket, options = name.partition("[")
    same = [entry for entry in known if plain(entry) == plain(word)]
    return name if word in known or len(same) != 1 else same[0] + bracket + options


def plain(name: str) -> str:
    """Return a name in lower case with _ for -, by which names are compared."""
    return name.casefold().replace("-", "_")


class Registry(dict[str, Value]):
    """A dict of functions or classes by name, whose entries are found in any case.

        fastdiff.SAMPLERS["DDIM"] is fastdiff.SAMPLERS["ddim"]

    `in` takes registered names only, see `known_name`.
    """

    def __missing__(self, name: str) -> Value:
        entry = known_name(name, self) if isinstance(name, str) else name
        return self[entry] if entry in self else self.unknown(name)

    def unknown(self, name: object) -> NoReturn:
        """Raise KeyError for an unknown name, with the nearest one."""
        near = nearest(str(name), self)
        raise KeyError(f"{name!r}: did you mean {near!r}?" if near else name)
