"""Validation of plain data against the parameters of functions; each error names the path of the key."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from math import prod
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo

from .errors import FastdiffError
from .registry import known_name
from .wording import complaint, dotted, suggestion, unregistered

MAX_NUMBERS = 1 << 26  # numbers in one sample: 4096 x 4096 pixels of four channels

# A name, or a mapping {name: ..., option: ...}.
Named = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)
]

Bound = Annotated[float, Field(allow_inf_nan=True)]  # a number, or inf for no bound
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # the seeds that torch takes


class Strict(BaseModel):
    """A base class of settings: an unknown key is an error, and true and false are no numbers."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def not_a_bool(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a value; raise ValueError if it is true or false where only numbers are expected."""
        if has_bool(value):
            kinds = set(basic_types(cls.model_fields[info.field_name].annotation))
            if kinds & {int, float} and not kinds & {bool, Any}:
                raise ValueError("expected a number")
        return value


def named(value: Any, path: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a value such as `cosine` or {name: cosine, ...}."""
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or not isinstance(options.get("name"), str):
        raise FastdiffError(f"{path}: expected a name, or {{name: ..., option: ...}}, got {value!r}")
    return options["name"], {k: v for k, v in options.items() if k != "name"}


def spelled(text: str, path: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a text such as `ddim[eta=0.5]`."""
    found = re.fullmatch(r"([\w.,]+)(?:\[(.*)\])?", text)
    if not found:
        raise FastdiffError(f"{path} {text!r}: expected a name, or name[option=value,option=value]")
    pairs = [part.partition("=") for part in found[2].split(",")] if found[2] else []
    if bad := [key for key, sign, value in pairs if not (sign and value)]:
        raise FastdiffError(f"{path} {text!r}: expected option=value in the brackets, got {bad[0]!r}")
    return found[1], {key.strip(): value.strip() for key, _, value in pairs}


def check(
    registry: Mapping[str, Callable],
    name: str,
    options: dict[str, Any],
    path: str,
    skip: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return options converted to the types that registry[name] declares.

    Args:
        registry: functions or classes by name.
        name: a key of the registry, in any case.
        options: keyword arguments, as plain data.
        path: path of the options, such as `stages.teacher.method`, for error messages.
        skip: parameters that are not options.

    Raises:
        FastdiffError: for an unknown name or option, or a bad value.
    """
    name = known_name(name, registry)
    if name not in registry:
        raise FastdiffError(unregistered(f"{path}: {name!r}", name, registry))
    return dict(validate(schema(registry[name], path, skip), options, path))


def call(registry: Mapping[str, Callable], name: str, options: dict[str, Any], path: str, *first: Any) -> Any:
    """Call registry[name] with checked options.

    Args:
        registry: functions or classes by name.
        name: a key of the registry, in any case.
        options: keyword arguments, as plain data.
        path: path of the options, such as `stages.teacher.method`, for error messages.
        first: positional arguments that precede the options.

    Raises:
        FastdiffError: for an unknown name or option, or a bad value; the message begins with the path.
    """
    name = known_name(name, registry)
    parameters = tuple(inspect.signature(registry[name]).parameters) if name in registry else ()
    options = check(registry, name, options, path, skip=parameters[: len(first)])
    try:
        return registry[name](*first, **options)
    except FastdiffError as error:
        separator = "." if error.key in parameters else ": "
        raise FastdiffError(f"{path}{separator}{error}") from None


@cache
def schema(kind: Callable, path: str, skip: tuple[str, ...] = ()) -> type[BaseModel]:
    """Return a strict pydantic model of the parameters of a function or dataclass."""
    parameters = {n: p for n, p in typed_parameters(kind).items() if n not in skip}
    described = {
        n: (
            completed(nested(p.annotation, dotted(path, n)), p.default),
            ... if p.default is p.empty else Field(default_factory=lambda default=p.default: default),
        )
        for n, p in parameters.items()
    }
    return create_model(kind.__name__, __base__=Strict, **described)


def typed_parameters(kind: Callable) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function or class; an annotation that is missing or not known is Any."""
    try:
        parameters = inspect.signature(kind, eval_str=True).parameters
    except NameError:  # in a text, of a name that only type checkers import
        parameters = inspect.signature(kind).parameters
    return {
        name: p.replace(annotation=Any) if p.annotation is p.empty or isinstance(p.annotation, str) else p
        for name, p in parameters.items()
    }


def completed(annotation: Any, default: Any) -> Any:
    """Return an annotation with which keys that are missing keep the values of a default that is settings."""
    if not isinstance(default, BaseModel):
        return annotation
    return Annotated[
        annotation, BeforeValidator(lambda own: default.model_dump() | own if isinstance(own, dict) else own)
    ]


def basic_types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation consists of, such as int and NoneType."""
    if arguments := get_args(annotation):
        for argument in arguments:
            yield from basic_types(argument)
    else:
        yield annotation if isinstance(annotation, type) or annotation is Any else type(annotation)


def has_bool(value: Any) -> bool:
    """Return whether a value is, or is a list that contains, true or false."""
    return any(isinstance(one, bool) for one in (value if isinstance(value, list | tuple) else [value]))


def nested(annotation: Any, path: str) -> Any:
    """Return an annotation that takes a name with options for a type that has a registry; None stays None."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    registry = next((kind.registry for kind in kinds if hasattr(kind, "registry")), None)
    if registry is None:
        return annotation

    def read(value: Any) -> Any:
        return None if value is None and NoneType in kinds else call(registry, *named(value, path), path)

    return Annotated[Any, BeforeValidator(read)]


def validate(kind: type[BaseModel], data: dict[str, Any], path: str) -> Any:
    """Validate data by pydantic; raise its first error in one line, with the key's path and nearest key."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # A misspelt key is also missing: its own error comes first.
        errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        first = errors[0]
        where = dotted(path, *map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            near = suggestion(str(first["loc"][-1]), set(known_keys(kind, first["loc"])))
            raise FastdiffError(f"{where} is unknown{near}") from None
        if first["type"] == "missing":
            raise FastdiffError(f"{where} is missing") from None
        # Of a union of types, the errors of that type count which goes deepest into the value.
        deepest = max((place(e["loc"], data) for e in errors if e["loc"][:1] == first["loc"][:1]), key=len)
        same = [e for e in errors if place(e["loc"], data) == deepest]
        where = dotted(path, *map(str, deepest))
        raise FastdiffError((f"{where}: " if where else "") + complaint(same)) from None


def place(loc: tuple[int | str, ...], data: Any) -> tuple[int | str, ...]:
    """Return the keys and indices in the location of pydantic's error, without its names of types."""
    keys = []
    for part in loc:
        listed = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if listed or (isinstance(data, Mapping) and part in data):
            data = data[part]
            keys.append(part)
    return tuple(keys)


def known_keys(kind: type[BaseModel], loc: tuple) -> list[str]:
    """Return the keys that are allowed at the place of an unknown key."""
    for key in loc[:-1]:
        has_fields = hasattr(kind, "model_fields")  # else the annotation is dict[str, ...]
        kind = kind.model_fields[key].annotation if has_fields else get_args(kind)[-1]
        kind = get_args(kind)[0] if type(None) in get_args(kind) else kind
    return list(kind.model_fields)


def sized(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a sample's shape; raise ValueError if it has no known number of axes, or is too large."""
    if not 1 <= len(shape) <= 4 or min(shape) < 1 or prod(shape) > MAX_NUMBERS:
        raise ValueError(
            f"expected (C, H, W), (D,), (C, L) or (C, T, H, W), all above 0, of at most "
            f"{MAX_NUMBERS:,} numbers"
        )
    return shape


Shape = Annotated[tuple[int, ...], AfterValidator(sized)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def check_bounds(settings: Any, path: str = "") -> None:
    """Check the numbers of a dataclass against the bounds that its annotations declare.

    Args:
        settings: an instance with fields such as `points: Annotated[int, Field(ge=2)] = 18`. None is within
            all bounds; every entry of a tuple is checked.
        path: path of the settings, for error messages.

    Raises:
        FastdiffError: if a number is out of its bounds, such as `points = 1: expected at least 2`; its key is
            the field's name.
    """
    for name, annotation in field_types(type(settings)).items():
        value = getattr(settings, name)
        for bounds, number in bounded_numbers(annotation, value):
            for bound in bounds:
                if not holds(number, bound):
                    expected = described_bound(bound)
                    raise FastdiffError(f"{dotted(path, name)} = {number}: expected {expected}", key=name)


@cache
def field_types(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, with the extras of Annotated."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def bounded_numbers(annotation: Any, value: Any) -> Iterator[tuple[list[Any], float]]:
    """Yield pairs of the bounds in an annotation and a number of the value to which they apply."""
    if isinstance(value, tuple | list):
        entries = [entry for entry in get_args(annotation) if entry is not Ellipsis]
        for index, number in enumerate(value):
            yield from bounded_numbers(entries[min(index, len(entries) - 1)] if entries else Any, number)
    elif isinstance(value, int | float):
        for part in (annotation, *get_args(annotation)):  # one part of `Annotated[...] | None` has the bounds
            metadata = getattr(part, "__metadata__", ())
            nested = [item.metadata if isinstance(item, FieldInfo) else [item] for item in metadata]
            if bounds := [item for items in nested for item in items if isinstance(item, Ge | Gt | Le | Lt)]:
                yield bounds, value


def holds(number: float, bound: Ge | Gt | Le | Lt) -> bool:
    """Return whether a number is within a bound; nan is not within any bound."""
    if isinstance(bound, Ge):
        return number >= bound.ge
    if isinstance(bound, Gt):
        return number > bound.gt
    return number <= bound.le if isinstance(bound, Le) else number < bound.lt


def described_bound(bound: Ge | Gt | Le | Lt) -> str:
    """Return a bound in words."""
    if isinstance(bound, Ge):
        return f"at least {bound.ge:,}"
    if isinstance(bound, Gt):
        return f"above {bound.gt:,}"
    return f"at most {bound.le:,}" if isinstance(bound, Le) else f"less than {bound.lt:,}"
