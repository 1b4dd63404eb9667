"""Classes of a model, of generated images and of data mean the same by their names."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.dataset import Dataset
from fastdiff.evaluation.class_names import check_classes, listed, matched_labels, places, recorded_names

NUMBERS = tuple(map(str, range(12)))


def data(names, labels=(0,), classes=None):
    count = len(names) if classes is None else classes
    return Dataset("some", torch.zeros(len(labels), 2), torch.tensor(labels), count, names=tuple(names))


class Labelled:
    """A model of so many classes."""

    def __init__(self, classes):
        self.classes = classes


def test_places_of_names():
    assert places(("c", "A"), ("a", "b", "c")) == [2, 0]
    assert places(("3", "0"), ("zero", "one", "two", "three")) == [3, 0]
    assert places(("10", "2"), NUMBERS) == [10, 2]
    assert places(("9",), ("zero", "one")) is None and places(("d",), ("a", "b", "c")) is None


@pytest.mark.parametrize(
    ("classes", "own", "names", "count"),
    [
        (3, ("a", "b", "c"), ("A", "b", "c"), 3),
        (3, (), ("x", "y", "z"), 3),  # unknown names: their number is compared
        (3, ("a", "b", "c"), (), 3),
        (3, ("a", "b", "c"), ("0", "1"), 2),  # numbers mean places, and the last class may be absent
        (12, (), NUMBERS, 12),
        (None, (), ("a",), 1),
    ],
)
def test_classes_that_fit(classes, own, names, count):
    check_classes("model m", Labelled(classes), data(names, classes=count), own)


@pytest.mark.parametrize(
    ("classes", "own", "names", "count", "words"),
    [
        (
            3,
            (),
            ("a", "c"),
            2,
            "model m has 3 classes, 0, 1, 2, and the data some have 2, a, c: expected the",
        ),
        (3, ("a", "b", "c"), ("a", "c"), 2, "model m has 3 classes, a, b, c, and the data some have 2, a, c"),
        (2, ("a", "b"), ("b", "a"), 2, "the same names in the same order"),
        (2, ("a", "b"), ("x", "y"), 2, "expected the same names"),
        (3, (), (), 2, "model m has 3 classes, and the data some have 2: expected the same number"),
    ],
)
def test_classes_that_do_not_fit(classes, own, names, count, words):
    with pytest.raises(FastdiffError, match=words):
        check_classes("model m", Labelled(classes), data(names, classes=count), own)


def test_names_are_recorded_unless_they_are_numbers():
    assert recorded_names(Labelled(2), data(("a", "b"))) == ["a", "b"]
    for classes, names in ((2, ("0", "1")), (None, ("a", "b")), (2, ()), (3, ("a", "b"))):
        assert recorded_names(Labelled(classes), data(names)) == []


def test_labels_of_generated_images_are_those_of_the_same_names():
    real = data(("zero", "one", "two"))
    assert matched_labels(data(("Two", "zero"), (1, 0)), real).tolist() == [0, 2]
    assert matched_labels(data(("0", "2"), (1, 0)), real).tolist() == [2, 0]
    assert matched_labels(data((), (1, 0), classes=3), real).tolist() == [1, 0]
    assert matched_labels(data((), (1, 0), classes=2), real) is None
    assert matched_labels(data(("left", "right"), (1, 0)), real) is None  # no classes of the data
    for names in (("zero", "three"), ("a", "b", "c")):
        with pytest.raises(
            FastdiffError, match="some have the classes .*: expected the same names, or numbers"
        ):
            matched_labels(data(names), real)


def test_many_names_are_cut():
    assert listed(NUMBERS).endswith(", 11") and listed((*NUMBERS, "12")).endswith(", 11, ...")
