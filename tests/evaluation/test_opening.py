"""Evaluators by the names of networks and metrics: what there is for the data, and what is refused."""

import pytest
import torch

from fastdiff.core.accelerator import make_accelerator
from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation.evaluator import folds_by_class
from fastdiff.evaluation.opening import (
    DEFAULT_IMAGE_METRICS,
    DEFAULT_VECTOR_METRICS,
    evaluate_images,
    open_evaluators,
)
from tests.helpers.evaluated import FEATURES, data


@pytest.mark.parametrize(
    "images, extractors, metrics, message",
    [
        (torch.zeros(4, 3, 32, 32), FEATURES, None, r"digits expected \(1 or 3, 8, 8\)"),
        (torch.zeros(4, 2), "inception", None, "leave extractor out"),
        (torch.zeros(4, 2), None, ("score",), "'score' needs a feature network"),
        (torch.zeros(4, 1, 8, 8), FEATURES, ("fdd",), "'fdd' is unknown, did you mean fd"),
        (
            torch.zeros(4, 1, 8, 8),
            FEATURES,
            ("accuracy",),
            "'accuracy' cannot be computed with digits.* 10 .* the data have 0",
        ),
    ],
)
def test_what_an_evaluator_cannot_do(images, extractors, metrics, message):
    with pytest.raises(FastdiffError, match=message):
        open_evaluators(data(images), extractors, metrics, "cpu")


def test_two_networks_of_one_name_are_refused(digits):
    with pytest.raises(FastdiffError, match="two feature networks have the same name"):
        open_evaluators(data(digits[0][:300]), f"{FEATURES},{FEATURES}", ("fd",), "cpu")


def test_images_from_elsewhere(digits, tmp_path):
    found = evaluate_images(data(digits[0][:200]), data(digits[0][200:600]), None, ("fd",))
    assert found["fd_digits"] > 0
    with pytest.raises(FastdiffError, match="choose a resolution and a colour"):
        evaluate_images(open_dataset("toy", n=10), data(digits[0][:10]))


def test_folds_of_images_with_classes_have_the_classes_of_the_whole():
    labels = torch.arange(80) % 2  # by index, a fold would have a single class
    made, real = (Dataset("dots", torch.randn(80, 2) + 4 * labels[:, None], labels, 2) for _ in range(2))
    [judge] = open_evaluators(real, None, ("fd",), "cpu")
    judge.add(torch.arange(80), made.examples, labels, folds_by_class(labels))
    expected = judge.result(make_accelerator()).values["fd_inf"]
    assert evaluate_images(made, real, None, ("fd",))["fd_inf"] == pytest.approx(expected)


def test_the_usual_metrics_are_those_that_the_data_allow(digits, tmp_path):
    def usual(dataset):
        [evaluator] = open_evaluators(dataset, None, None, "cpu", tmp_path)
        return evaluator.metrics

    images, labels = digits
    assert usual(data(images[:300], labels[:300])) == (*DEFAULT_IMAGE_METRICS, "accuracy")
    assert usual(data(images[:300])) == DEFAULT_IMAGE_METRICS
    assert usual(data(torch.randn(300, 2), name="toy")) == DEFAULT_VECTOR_METRICS
