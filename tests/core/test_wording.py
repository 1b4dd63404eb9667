"""What errors say: the expected value in words, and the nearest known name."""

from typing import Literal

import pytest
from pydantic import Field, create_model

from fastdiff.core.errors import FastdiffError
from fastdiff.core.validation import Strict, check, validate
from fastdiff.core.wording import nearest, suggestion, unregistered


def line(annotation, value):
    """The error for a value of a setting."""
    with pytest.raises(FastdiffError) as caught:
        validate(create_model("Settings", __base__=Strict, x=(annotation, ...)), {"x": value}, "bench")
    return str(caught.value)


@pytest.mark.parametrize(
    "annotation, value, expected",
    [
        (tuple[int, ...], 4, "bench.x: expected a list, such as [4], got 4"),
        (list[str], "wandb", "bench.x: expected a list, such as [wandb], got 'wandb'"),
        (tuple[int, ...], {"a": 1}, "bench.x: expected a list, got {'a': 1}"),
        (int, "many", "bench.x: expected a whole number, got 'many'"),
        (int, 1.5, "bench.x: expected a whole number, got 1.5"),
        (float, True, "bench.x: expected a number, got True"),
        (bool, "maybe", "bench.x: expected true or false, got 'maybe'"),
        (str, 3, "bench.x: expected a text, got 3"),
        (dict[str, int], 3, "bench.x: expected settings, {key: value}, got 3"),
        (Literal["no", "bf16"], "bf", "bench.x: expected no or bf16, got 'bf', did you mean bf16?"),
        (Literal["no", "bf16"], 3, "bench.x: expected no or bf16, got 3"),
        (float | tuple[float, ...], "a", "bench.x: expected a number, or a list, such as [a], got 'a'"),
        (float | tuple[float, ...], [1, "a"], "bench.x.1: expected a number, got 'a'"),
        (tuple[int, ...], [1, "b"], "bench.x.1: expected a whole number, got 'b'"),
        (int | None, "a", "bench.x: expected a whole number, got 'a'"),
    ],
)
def test_an_expected_value_is_in_words(annotation, value, expected):
    assert line(annotation, value) == expected


def test_bounds_are_in_words():
    with pytest.raises(FastdiffError, match="^x: expected at least 1,000, got 3$"):
        validate(create_model("S", __base__=Strict, x=(int, Field(ge=1000))), {"x": 3}, "")


def test_the_nearest_name_comes_first():
    assert nearest("DPMPP2M", ["ddim", "dpmpp_2m"]) == "dpmpp_2m"  # in any case
    assert nearest("xyz", ["ddim"]) == ""
    assert suggestion("unett", ["mlp", "unet"]) == ", did you mean unet?"
    assert suggestion("zzz", ["mlp", "unet"]) == ", choose from mlp, unet"
    assert suggestion("zzz", {"unet", "mlp"}) == ", choose from mlp, unet" and suggestion("zzz", []) == ""


def test_a_name_that_a_plugin_may_register():
    hint = "no plugin has registered it: pass --plugin FILE if one does"
    line = f"net: 'unett' is unknown, did you mean unet? Choose from mlp, unet; {hint}"
    assert unregistered("net: 'unett'", "unett", {"mlp": 0, "unet": 1}) == line
    with pytest.raises(FastdiffError, match=f"^net: 'own' is unknown, choose from unet; {hint}$"):
        check({"unet": dict}, "own", {}, "net")
