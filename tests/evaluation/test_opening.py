"""Evaluators by the names of networks and metrics: what there is for the data, and what is refused."""

import warnings

import pytest
import torch

from fastdiff.core.accelerator import make_accelerator
from fastdiff.core.errors import FastdiffError, FastdiffWarning
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation.evaluator import folds_by_class
from fastdiff.evaluation.opening import (
    DEFAULT_IMAGE_METRICS,
    DEFAULT_VECTOR_METRICS,
    evaluate_images,
    open_evaluators,
    warn_of_pixels,
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


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A machine without weights of Inception-v3 and without a network."""

    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    warn_of_pixels.cache_clear()


def dots(shape=(3, 12, 12), count=40):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return Dataset("dots", images, torch.arange(count) % 2, 2)


def test_without_a_feature_network_pixels_judge_after_one_warning(offline, tmp_path):
    line = "no feature network is available: images are judged by energy_px8 and swd_px8, .* 8 x 8 pixels"
    with pytest.warns(FastdiffWarning, match=line) as given:
        found = evaluate_images(dots(), dots())
    assert len(given) == 1 and {"energy_px8", "energy_px8_se", "swd_px8", "precision_px8"} < found.keys()
    assert found["swd_px8"] == 0 and found["energy_px8"] < 0  # unbiased: copies are below 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is given once
        [judge] = open_evaluators(dots(), None, ("fd", "accuracy", "energy"), "cpu", tmp_path)
    assert judge.metrics == ("energy",)  # what needs a network is left out


def test_a_network_that_was_named_is_not_replaced(offline, tmp_path):
    with pytest.raises(FastdiffError, match="the weights of inception cannot be downloaded.*extractor"):
        open_evaluators(dots(), "inception", None, "cpu", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [judge] = open_evaluators(dots(), "pixels", None, "cpu", tmp_path)
    assert judge.metrics == DEFAULT_VECTOR_METRICS


@pytest.mark.parametrize(
    "shape, extractors, metrics, message",
    [
        ((3, 8, 8), f"{FEATURES},pixels", None, "name pixels or the others"),
        ((3, 8, 8), "pixels", ("accuracy",), "'accuracy' cannot be computed with px8, which has features"),
        ((3, 8, 8, 8), "pixels", None, r"expected images \(channels, height, width\)"),
    ],
)
def test_what_pixels_cannot_do(shape, extractors, metrics, message):
    with pytest.raises(FastdiffError, match=message):
        open_evaluators(dots(shape), extractors, metrics, "cpu")


def test_pixels_compare_a_bounded_number_of_examples(tmp_path):
    [judge] = open_evaluators(dots((1, 1, 1), 4100), "pixels", ("energy",), "cpu", tmp_path)
    assert len(judge.examples) == 4000 and judge.examples.float().diff().min() > 0
