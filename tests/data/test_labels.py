"""Labels in tables: columns that hold classes, and those that do not."""

import datasets
import pytest
from datasets import ClassLabel, List, Value

from fastdiff.core.errors import FastdiffError
from fastdiff.data.labels import find_label_column, read_labels


def rows(values, kind):
    return datasets.Dataset.from_dict({"label": values}, datasets.Features({"label": kind}))


@pytest.mark.parametrize(
    ("kinds", "chosen", "found"),
    [
        ({"label": Value("int64")}, None, "label"),
        ({"label": Value("int64")}, False, None),
        ({"label": Value("int64")}, "", None),
        ({"label": Value("float32")}, None, None),  # a score
        ({"label": List(Value("int64"))}, None, None),  # several labels
        ({"label": {"a": Value("int64")}}, None, None),
        ({"label": Value("float32")}, "label", "label"),
        ({"label": Value("bool"), "kind": ClassLabel(names=["a"])}, None, "kind"),
        ({"coarse": ClassLabel(names=["a"]), "fine": ClassLabel(names=["b"])}, None, None),
        ({"cls": Value("uint8")}, None, "cls"),
        ({"text": Value("string")}, None, None),
    ],
)
def test_which_column_holds_the_labels(kinds, chosen, found):
    assert find_label_column("some", kinds, chosen) == found


def test_a_chosen_column_that_is_missing_is_refused():
    with pytest.raises(FastdiffError, match="no column 'y'; set `label_column` to one of label, or to false"):
        find_label_column("some", {"label": Value("int64")}, "y")


@pytest.mark.parametrize(
    ("values", "kind", "labels", "names"),
    [
        ([2, 0], Value("int64"), [2, 0], ("0", "1", "2")),
        ([1, 0], ClassLabel(names=["ant", "bee"]), [1, 0], ("ant", "bee")),
        (["b", "a"], Value("string"), [1, 0], ("a", "b")),
        ([True, False], Value("bool"), [1, 0], ("False", "True")),
        ([0, 9_999], Value("int32"), [0, 9_999], None),  # few rows of many classes
        ([-1, -1], Value("int64"), None, ()),
    ],
)
def test_labels_and_the_names_of_classes(values, kind, labels, names):
    found, named = read_labels("some", rows(values, kind), "label", 2)
    assert (None if found is None else found.tolist()) == labels
    assert names is None or named == names


def test_rows_that_are_not_read_may_lack_a_label():
    found, names = read_labels("some", rows([1, 0, None], Value("int64")), "label", 2)
    assert (found.tolist(), names) == ([1, 0], ("0", "1"))


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([0, None], Value("int64"), "rows without a label: row 1; `label_column: false`"),
        (["a", None], Value("string"), "rows without a label: row 1"),
        ([0, 5], ClassLabel(names=["a", "b"]), r"rows without a label: row 1 \(5\)"),
        ([3, -1], Value("int64"), r"rows without a label: row 1 \(-1\)"),
        ([123, 20_000_000], Value("int64"), "labels up to 20,000,000 in 2 rows: expected classes, numbered"),
        ([0.5, 1.0], Value("float64"), "labels must be integers or strings; `label_column: false`"),
        ([[0], [1]], List(Value("int64")), "labels must be integers or strings"),
        ([None, None], Value("int64"), "rows without a label: row 0"),
    ],
)
def test_what_is_no_class_is_refused(values, kind, words):
    with pytest.raises(FastdiffError, match=words) as caught:
        read_labels("some", rows(values, kind), "label", 2)
    assert "\n" not in str(caught.value)
