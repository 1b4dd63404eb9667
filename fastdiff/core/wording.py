"""The wording of errors: what a value was expected to be, and the known name nearest to a wrong one."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Types of pydantic's errors -> the expected value, from the error's context.
EXPECTED: dict[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "dict_type": "settings, {{key: value}}",
    "model_type": "settings, {{key: value}}",
    "model_attributes_type": "settings, {{key: value}}",
    "none_required": "null",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} values",
    "too_long": "at most {max_length} values",
    "string_pattern_mismatch": "a text that matches {pattern}",
}
LISTS = ("tuple_type", "list_type", "set_type")


def dotted(*parts: str) -> str:
    """Join the parts of a key's path by dots; empty parts are left out."""
    return ".".join(p for p in parts if p)


def complaint(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return what a value was expected to be, such as "expected a list, such as [4], got 4".

    Args:
        errors: the errors of pydantic for one value, of which a union of types has several.
    """
    texts = dict.fromkeys(map(expectation, errors))
    first, *others = texts
    text = ", or ".join([first, *(other.removeprefix("expected ") for other in others)])
    value = errors[0]["input"]
    near = ""
    if isinstance(value, str):
        words = [name for error in errors if error["type"] == "literal_error" for name in literals(error)]
        near = nearest(value, words)
    return f"{text}, got {value!r:.200}" + (f", did you mean {near}?" if near else "")


def expectation(error: Mapping[str, Any]) -> str:
    """Return what an error of pydantic expected."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "literal_error":
        *names, last = literals(error)
        return "expected " + (f"{', '.join(names)} or {last}" if names else last)
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind in LISTS:
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        return "expected a list" + (f", such as [{value}]" if plain else "")
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind].format(**{key: in_words(value) for key, value in context.items()})}"
    text = error["msg"].partition(" or instance of ")[0]
    return text[0].lower() + text[1:]


def in_words(bound: Any) -> Any:
    """Return a bound as text if it is a number, such as 1,000 and 0.5; another value as it is."""
    if not isinstance(bound, int | float):
        return bound
    return f"{int(bound):,}" if float(bound).is_integer() else f"{bound:g}"


def literals(error: Mapping[str, Any]) -> list[str]:
    """Return the values that a literal may have, which pydantic lists as "'no', 'bf16' or 'fp16'"."""
    return [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is nearest to a wrong one, in any case of letters; "" if none is near."""
    folded = {other.casefold(): other for other in reversed(list(known))}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    return folded[near[0]] if near else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message that suggests the nearest known name, or lists all of them.

    Args:
        name: the wrong name.
        known: the known names; a set is listed in alphabetical order, other collections in their own.
    """
    if near := nearest(name, known):
        return f", did you mean {near}?"
    names = list(known) if isinstance(known, Sequence) else sorted(known)
    return f", choose from {', '.join(names)}" if names else ""


def unregistered(what: str, name: str, registry: Iterable[str]) -> str:
    """Return the error message for a name that a registry does not have, which a plugin may have to add.

    Args:
        what: the name as the message shows it, such as "model.net: 'mynet'".
        name: the name.
        registry: the registered names.
    """
    near = nearest(name, registry)
    start = f"did you mean {near}? Choose" if near else "choose"
    return (
        f"{what} is unknown, {start} from {', '.join(registry)}; no plugin has registered it: pass "
        "--plugin FILE if one does"
    )
