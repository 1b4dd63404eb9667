"""Errors that end a command: their first lines, exit codes and keys."""

import numpy
import pytest

from fastdiff.core.errors import FastdiffError, Interrupted, at_least_one, checked_integer, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  one \ntwo\n"), "one "),
        (KeyError("name"), "'name'"),
        (OSError(), "OSError"),
        (ZeroDivisionError("  \n "), "ZeroDivisionError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line


def test_an_interrupted_program_ends_with_the_code_for_try_again():
    with pytest.raises(SystemExit) as caught:
        raise Interrupted("stopped at step 3")
    assert (caught.value.code, str(caught.value)) == (75, "stopped at step 3")


def test_a_count_below_one_is_refused_with_its_option():
    assert [at_least_one("--n", value) for value in (None, 1, 7)] == [None, 1, 7]
    with pytest.raises(FastdiffError, match=r"^--n = 0: expected at least 1$"):
        at_least_one("--n", 0)


def test_an_error_has_a_key_only_where_it_begins_with_a_setting():
    assert FastdiffError("no such file").key is None
    assert FastdiffError("points = 1: expected at least 2", key="points").key == "points"


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(FastdiffError, match=r"^steps = .*: expected a whole number$") as caught:
        checked_integer("steps", value, 1, 10)
    assert caught.value.key == "steps"


def test_a_whole_number_has_bounds():
    assert checked_integer("seed", numpy.int64(-3), -10, 10) == -3
    with pytest.raises(FastdiffError, match="^seed = 11: expected at least -10, and at most 10$"):
        checked_integer("seed", 11, -10, 10)


def test_an_error_is_one_line_whatever_a_file_is_called():
    assert str(FastdiffError("a\nb\x1b[31m\udcff: é")) == "a\\nb\\x1b[31m\\udcff: é"
