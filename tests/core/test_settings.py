"""Settings as text: types, defaults and meanings, from annotations and docstrings."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import ConfigDict, Field

from fastdiff.core.settings import Setting, documented, paper, settings, spelled_value, summary, type_text
from fastdiff.core.validation import Named, Strict

KINDS: dict[str, type] = {}


@dataclass(frozen=True)
class Kind:
    registry: ClassVar[dict[str, type]] = KINDS


@dataclass(frozen=True)
class Plain(Kind):
    pass


@dataclass(frozen=True)
class Wide(Kind):
    mean: float = 0.0
    std: float = 1.0


KINDS |= {"plain": Plain, "wide": Wide}


class Term(Strict):
    """A term (Doe & Roe 2020).

    Args:
        weight: weight of the term, at least 0.
    """

    model_config = ConfigDict(frozen=True)

    weight: Annotated[float, Field(ge=0, le=1e6)] = 0.0


@dataclass
class Base:
    """A method (Doe et al. 2019): its first sentence, which
    has two lines.

    More of it.

    Args:
        steps: number of steps, a key of STEPS; None
            for all. See also Term.
        kind: kind; see Term.

    Raises:
        ValueError: never.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    kind: Kind = Plain()


@dataclass
class Method(Base):
    """Another.

    Args:
        gan: a term.
    """

    kind: Kind = field(default_factory=lambda: Wide(std=2.0))
    gan: Term = Term(weight=1e-3)
    path: str = field(kw_only=True)


def test_a_dataclass_has_the_descriptions_of_its_bases():
    assert settings(Method) == [
        Setting("steps", "int (at least 1) or null", "null", "number of steps; null for all. See also Term"),
        Setting("kind", "plain or wide", "{name: wide, std: 2}", "kind"),
        Setting("gan", "mapping", "{weight: 0.001}", "a term"),
        Setting("gan.weight", "float (at least 0)", "0.001", "weight of the term, at least 0"),
        Setting("path", "text", "required", ""),
    ]


def test_a_function_and_its_preset():
    def build(shape, *, width: int = 4, names: tuple[str, ...] = ()):
        """Return a thing.

        Args:
            width: its width.
            names, others: its names.
        """

    preset = partial(build, width=8)
    assert settings(build, ("shape",))[0] == Setting("width", "int", "4", "its width")
    assert settings(preset, ("shape",)) == [
        Setting("width", "int", "8", "its width"),
        Setting("names", "list of text", "[]", "its names"),
    ]
    assert summary(build) == "A thing."


@pytest.mark.parametrize(
    "annotation, text",
    [
        (bool, "true or false"),
        (Literal["a", "b", "c"], "a, b or c"),
        (Annotated[float, Field(gt=0, lt=1)], "float (above 0, less than 1)"),
        (Annotated[int, Field(ge=1, le=10**9)], "int (at least 1)"),
        (tuple[float, float], "list of 2 float"),
        (tuple[int, str], "[int, text]"),
        (tuple[Literal["a", "b", "c"], ...] | None, "list of (a, b or c) or null"),
        (Named | None, "name, or {name: ..., option: ...} or null"),
        (dict[str, Term] | None, "mapping or null"),
        (Any, "any"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_types(annotation, text):
    assert type_text(annotation) == text


def test_settings_inside_of_a_mapping_have_a_place_for_its_names():
    class Roles(Strict):
        roles: dict[str, Term] | None = None
        bound: float = Field(1.0, gt=0)

    assert [(one.name, one.type) for one in settings(Roles)] == [
        ("roles", "mapping or null"),
        ("roles.NAME.weight", "float (at least 0)"),
        ("bound", "float (above 0)"),
    ]


def test_values_are_written_as_in_a_recipe():
    values = {True: "true", None: "null", 1e-3: "0.001", (1, 2.0): "[1, 2]", "": '""'}
    assert {value: spelled_value(value) for value in values} == values
    assert spelled_value({"name": "cosine"}) == "cosine" and spelled_value({"a": None}) == "{a: null}"
    assert [spelled_value(one) for one in (Plain(), Wide(), Wide(1.0))] == [
        "plain",
        "wide",
        "{name: wide, mean: 1}",
    ]


def test_papers_and_first_sentences():
    assert (paper(Base), paper(Term), paper(Kind)) == ("Doe et al. 2019", "Doe & Roe 2020", "")
    assert summary(Base) == "A method (Doe et al. 2019): its first sentence, which has two lines."
    assert documented(Plain) == {}
