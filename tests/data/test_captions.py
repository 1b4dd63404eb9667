"""Captions filled in from columns: values that are missing, nested, or no text."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.data.captions import captions_of

COLUMNS = {
    "text": ["a cat", None, ""],
    "texts": [["a cat", "one cat"], [], [None]],
    "meta": [{"title": "cat", "tags": ["x"]}, {"title": None}, None],
    "size": [1.5, float("nan"), 2.0],
    "count": [3, 0, 7],
    "raw": [b"cat", b"dog", b"x"],
    "a.b": ["dots", "in", "names"],
    "is": [True, False, None],
}


def filled(template):
    return captions_of(template, 3, {name: lambda name=name: COLUMNS[name] for name in COLUMNS})


@pytest.mark.parametrize(
    ("template", "captions"),
    [
        ("{text}", ("a cat", "", "")),
        ("a photo of {text}", ("a photo of a cat", "", "a photo of ")),  # null leaves nothing, "" is a value
        ("{texts[0]}", ("a cat", "", "")),
        ("{texts[1]}, {count}", ("one cat, 3", "", "")),
        ("{meta[title]} of {meta[tags][0]}", ("cat of x", "", "")),
        ("{size:.2f} m", ("1.50 m", "", "2.00 m")),
        ("{count:03d}{{}}", ("003{}", "000{}", "007{}")),
        ("{a.b}", ("dots", "in", "names")),
        ("{text!r}", ("'a cat'", "", "''")),
        ("{is}", ("True", "False", "")),
        ("the same", ("the same",) * 3),
    ],
)
def test_a_value_that_is_missing_leaves_the_empty_caption(template, captions):
    assert filled(template) == captions


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{texts}",
            r"row 0 of 'texts' holds a list: expected text or a number; \{texts\[0\]\} takes the first",
        ),
        ("{meta}", "row 0 of 'meta' holds a dict"),
        ("{raw}", "row 0 of 'raw' holds a bytes"),
        ("{text:{width}}", "a format cannot have braces itself"),
        ("{text:d}", "row 0: Unknown format code 'd'"),
        ("{texts[9]}", "no example has all of these values"),
        ("{text.__class__}", r"\{text.__class__\} is unknown, choose from text, texts"),
        ("{0}", r"\{0\} is unknown"),
        ("{}", r"\{\} is unknown"),
        ("{text", "expected '}'"),
        ("{texts[}", "expected '}'|Missing ']'"),
        ("{text!x}", "!x is unknown, choose from !r"),
    ],
)
def test_what_is_no_caption_is_refused_in_one_line(template, words):
    with pytest.raises(FastdiffError, match=words) as caught:
        filled(template)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("captions: ")
