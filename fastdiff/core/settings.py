"""Settings of functions, dataclasses and pydantic models as text: their names, types, defaults and meanings.

The source is the code itself: annotations, default values, and the section `Args:` of the docstrings.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .validation import Named, described_bound

REQUIRED = "required"
HUGE = 10**5  # bounds above it only exclude typing errors, and are left out
TYPE_NAMES = {int: "int", float: "float", str: "text", bool: "true or false", NoneType: "null", Any: "any"}


class Setting(NamedTuple):
    """One setting as text.

    Args:
        name: name of the setting; `gan.weight` is a setting inside of the setting `gan`.
        type: the values that it takes, such as "int (at least 1)".
        default: default as it is written in a recipe, or "required".
        meaning: description, in one line.
    """

    name: str
    type: str
    default: str
    meaning: str


def settings(kind: Callable, skip: tuple[str, ...] = (), defaults: Any = None) -> list[Setting]:
    """Return the settings of a function, a dataclass or a pydantic model, in the order of their definition.

    Args:
        kind: the function or class.
        skip: parameters that are not settings.
        defaults: an instance whose values are the defaults; None for the defaults of `kind`.
    """
    meanings = documented(kind)
    found = []
    for name, annotation, default in parameters(kind):
        if name in skip:
            continue
        default = default if defaults is None else getattr(defaults, name)
        nested = models_in(annotation)
        found.append(Setting(name, type_text(annotation), spelled_default(default), meanings.get(name, "")))
        for prefix, model in nested:
            given = default if isinstance(default, model) else None
            found += [one._replace(name=f"{name}{prefix}.{one.name}") for one in settings(model, (), given)]
    return found


def parameters(kind: Callable) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the annotation and the default (inspect's `empty` if required) of each setting."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            annotation = kind.__annotations__.get(name, field.annotation)
            if get_origin(annotation) is not Annotated:
                annotation = Annotated[annotation, field]
            default = field.get_default(call_default_factory=True)
            yield name, annotation, inspect.Parameter.empty if field.is_required() else default
    elif is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            made = field.default if field.default_factory is MISSING else field.default_factory()
            yield field.name, hints[field.name], inspect.Parameter.empty if made is MISSING else made
    else:
        for name, parameter in inspect.signature(kind).parameters.items():
            yield name, parameter.annotation, parameter.default


def documented(kind: Callable) -> dict[str, str]:
    """Return the descriptions in the sections `Args:` of a docstring, by name; of a class, also its bases'.

    A preset, a partial function, has those of its function.
    """
    kind = getattr(kind, "func", kind)
    kinds = reversed(kind.__mro__) if isinstance(kind, type) else [kind]
    found: dict[str, str] = {}
    for one in kinds:
        text = inspect.cleandoc(
            vars(one).get("__doc__") or "" if isinstance(one, type) else one.__doc__ or ""
        )
        section = re.search(r"^Args:\n((?: .*\n?|\n)*)", text, re.MULTILINE)
        entries = re.split(r"^ {4}(?=\w[\w, ]*:)", section[1], flags=re.MULTILINE)[1:] if section else []
        for entry in entries:
            names, _, meaning = entry.partition(":")
            found |= dict.fromkeys(names.split(", "), plain(meaning))
    return found


def plain(meaning: str) -> str:
    """Return a description in one line, with `null` for None and without names that only Python has."""
    line = re.sub(r",? a key of [A-Z_]{3,}", "", " ".join(meaning.split()))
    line = re.sub(r"[,;.]? (?:For other(?:s| settings) )?see (?:[A-Z]\w+|`\w+`)", "", line)
    return re.sub(r"\bNone\b", "null", line).rstrip(".")


def summary(entry: object) -> str:
    """Return the first sentence of an entry's docstring in one line; of a function, without "Return"."""
    text = inspect.cleandoc(getattr(entry, "__doc__", None) or "").split("\n\n")[0]
    return re.sub(r"^Return (\w)", lambda found: found[1].upper(), " ".join(text.split()))


def paper(entry: object) -> str:
    """Return the first citation in an entry's docstring, such as "Geng et al. 2024"; empty without one."""
    text = " ".join((getattr(entry, "__doc__", None) or "").split())
    names = r"[A-Z][\w-]+(?: et al\.| & [A-Z][\w-]+)?"
    found = re.search(rf"({names},? (?:19|20)\d\d[a-z]?)\b", text)
    return found[1] if found else ""


# ---- types ----------------------------------------------------------------------------------------------


def type_text(annotation: Any) -> str:
    """Return the values that an annotation allows, in words."""
    if annotation == Named:
        return "name, or {name: ..., option: ...}"
    if hasattr(annotation, "registry"):
        return listed(annotation.registry)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        return type_text(inner) + bounds_text(metadata)
    if origin is Literal:
        return listed(get_args(annotation))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_text(part) for part in get_args(annotation)))
    if origin in (tuple, list):
        return list_text(get_args(annotation))
    if origin in (dict, Mapping) or is_model(annotation):
        return "mapping"
    return TYPE_NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def list_text(entries: tuple[Any, ...]) -> str:
    """Return the type of a list in words, from the types of its entries."""
    if len(entries) > 1 and Ellipsis not in entries:
        kinds = list(dict.fromkeys(map(type_text, entries)))
        return f"list of {len(entries)} {kinds[0]}" if len(kinds) == 1 else f"[{', '.join(kinds)}]"
    kind = type_text(entries[0])
    return f"list of ({kind})" if ", " in kind and "(" not in kind else f"list of {kind}"


def listed(names: Any) -> str:
    """Return names as "a, b or c"."""
    *most, last = map(str, names)
    return f"{', '.join(most)} or {last}" if most else last


def bounds_text(metadata: list[Any]) -> str:
    """Return the bounds in an annotation's metadata in words, in brackets; empty without any."""
    bounds = [
        part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    words = []
    for bound in bounds:
        limit = getattr(bound, "le", getattr(bound, "lt", 0))
        if isinstance(bound, Ge | Gt | Le | Lt) and abs(getattr(bound, "ge", limit)) <= HUGE:
            words.append(described_bound(bound))
    return f" ({', '.join(words)})" if words else ""


def is_model(annotation: Any) -> bool:
    """Return whether an annotation is a pydantic model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def models_in(annotation: Any) -> list[tuple[str, type[BaseModel]]]:
    """Return the pydantic models in an annotation; each after "", or ".NAME" as the value of a mapping."""
    if is_model(annotation):
        return [("", annotation)]
    inside = ".NAME" if get_origin(annotation) is dict else ""
    return [
        (inside + prefix, model)
        for part in get_args(annotation)
        if part is not Ellipsis
        for prefix, model in models_in(part)
    ]


# ---- defaults -------------------------------------------------------------------------------------------


def spelled_default(value: Any) -> str:
    """Return a default as it is written in a recipe."""
    return REQUIRED if value is inspect.Parameter.empty else spelled_value(value)


def spelled_value(value: Any) -> str:
    """Return a value as it is written in a recipe, in YAML's flow style."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(spelled_value, value))}]"
    if isinstance(value, Mapping):
        return value["name"] if set(value) == {"name"} else spelled_mapping(value)
    if hasattr(value, "registry") or isinstance(value, BaseModel):
        return spelled_settings(value)
    return str(value) or '""'


def spelled_settings(value: Any) -> str:
    """Return an instance of settings: its name, if it has one, and what differs from its class's defaults."""
    kind = type(value)
    own = {
        name: getattr(value, name)
        for name, _, default in parameters(kind)
        if default is inspect.Parameter.empty or getattr(value, name) != default
    }
    names = [name for name, known in getattr(kind, "registry", {}).items() if known is kind]
    if names and not own:
        return names[0]
    return spelled_mapping({"name": names[0], **own} if names else own)


def spelled_mapping(value: Mapping[str, Any]) -> str:
    """Return a mapping in YAML's flow style."""
    return f"{{{', '.join(f'{key}: {spelled_value(one)}' for key, one in value.items())}}}"
