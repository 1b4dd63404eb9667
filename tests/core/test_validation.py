"""Bounds of settings, and the path that an error begins with."""

import math
from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field

from fastdiff.core.errors import FastdiffError
from fastdiff.core.validation import call, check_bounds

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class Settings:
    points: Annotated[int, Field(ge=2, le=10**6)] = 18
    betas: tuple[Share, ...] = (0.9, 0.999)
    scale: Annotated[float, Field(gt=0)] | None = None
    window: tuple[Annotated[float, Field(ge=0)], float] = (0.0, 1.0)
    name: str = "any"

    def __post_init__(self):
        check_bounds(self)


@pytest.mark.parametrize(
    ("settings", "message", "key"),
    [
        ({"points": 1}, "points = 1: expected at least 2", "points"),
        ({"points": 10**7}, "points = 10000000: expected at most 1,000,000", "points"),
        ({"betas": (0.5, 1.0)}, "betas = 1.0: expected less than 1", "betas"),
        ({"scale": 0.0}, "scale = 0.0: expected above 0", "scale"),
        ({"scale": math.nan}, "scale = nan: expected above 0", "scale"),
        ({"window": (-1.0, -1.0)}, "window = -1.0: expected at least 0", "window"),
    ],
)
def test_a_number_out_of_its_bounds_is_named_with_the_bound(settings, message, key):
    with pytest.raises(FastdiffError) as caught:
        Settings(**settings)
    assert (str(caught.value), caught.value.key) == (message, key)


@pytest.mark.parametrize(
    "settings", [{}, {"points": 2}, {"scale": None}, {"betas": ()}, {"window": (0.0, -5.0)}]
)
def test_numbers_within_their_bounds_pass(settings):
    Settings(**settings)


def test_an_error_of_a_setting_continues_the_path_and_any_other_follows_a_colon():
    def whole():
        raise FastdiffError("points and scale do not fit")

    registry = {"settings": Settings, "whole": whole}
    with pytest.raises(FastdiffError, match=r"^method\.name is unknown|^method\.points: expected"):
        call(registry, "settings", {"points": 1}, "method")
    with pytest.raises(FastdiffError, match=r"^method: points and scale do not fit$"):
        call(registry, "whole", {}, "method")

    def late(points: int):
        raise FastdiffError(f"points = {points}: expected an even number", key="points")

    with pytest.raises(FastdiffError, match=r"^method\.points = 3: expected an even number$"):
        call({"late": late}, "late", {"points": 3}, "method")


def test_a_setting_with_a_registry_may_be_left_empty_if_its_type_says_so():
    @dataclass
    class Shape:
        size: int = 1

    class Shaped(Shape):
        registry = {"shape": Shape}

    def optional(shape: Shaped | None = None):
        return shape

    def needed(shape: Shaped):
        return shape

    registry = {"optional": optional, "needed": needed}
    assert call(registry, "optional", {"shape": None}, "method") is None
    for name in registry:
        assert call(registry, name, {"shape": {"name": "shape", "size": 3}}, "method") == Shape(3)
    for name, value in (("needed", None), ("optional", 3)):
        with pytest.raises(FastdiffError, match="^method.shape: expected a name"):
            call(registry, name, {"shape": value}, "method")


def test_options_without_annotations_and_with_annotations_as_texts():
    """As in a plugin that has `from __future__ import annotations`."""

    def plain(size=1, *, width: "int" = 2, later: "Nowhere" = 3):  # noqa: F821
        return size, width, later

    def textual(width: "int" = 2):
        return width

    assert call({"plain": plain}, "plain", {"size": [1]}, "net") == ([1], 2, 3)
    with pytest.raises(FastdiffError, match="^net.width: expected a whole number, got 'a'"):
        call({"textual": textual}, "textual", {"width": "a"}, "net")
