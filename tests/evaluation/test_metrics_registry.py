"""The families of metrics, of features written by hand."""

import gc
import weakref

import pytest
import torch
from accelerate import Accelerator

from fastdiff.evaluation.metric_names import is_metric
from fastdiff.evaluation.metrics import METRICS, registry
from fastdiff.evaluation.metrics.registry import (
    KID_SUBSET_SAMPLES,
    Collected,
    accuracy,
    kid_of_subsets,
    score,
)
from fastdiff.evaluation.opening import open_evaluators
from tests.helpers.evaluated import data, judged, statistics
from tests.helpers.tensors import rng


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def test_metrics_of_the_data_alone_are_computed_once_and_end_with_the_evaluator(
    digits, accelerator, tmp_path, monkeypatch
):
    computed = []

    def counted(plain):
        return lambda x, *kernel: computed.append(len(x)) or plain(x, *kernel)

    for name in ("sums_within", "spread"):
        monkeypatch.setattr(registry, name, counted(getattr(registry, name)))
    [evaluator] = open_evaluators(data(digits[0][:300]), None, ("kd", "pr"), "cpu", tmp_path)
    first = judged(evaluator, digits[0][300:500], accelerator).values
    assert judged(evaluator, digits[0][300:500], accelerator).values == first
    assert computed == [300, 300]  # of the data once each, whatever is judged
    features = weakref.ref(evaluator._real.collected(accelerator).kept["features"])
    del evaluator
    gc.collect()
    assert features() is None


def test_accuracy_is_the_share_of_the_right_classes():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [9.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    made = Collected({}, {"logits": logits}, torch.tensor([0, 1, 1, 1]))
    assert accuracy(made, made) == {"accuracy": 0.75, "classes": [1.0, 0.6667]}
    made.labels = torch.tensor([0, 2, 0, 2])
    assert accuracy(made, made) == {"accuracy": 0.5, "classes": [1.0, None, 0.0]}
    assert accuracy(Collected({}, {"logits": logits}), made) == {"accuracy": None}


def test_a_sure_classifier_of_equal_classes_scores_their_number():
    labels = torch.arange(400) % 4
    found = score(Collected({}, {"logits": 50.0 * torch.nn.functional.one_hot(labels, 4)}), None)
    assert found["score"] == pytest.approx(4, rel=0.05) and 0 <= found["score_se"] < 0.1
    unsure = score(Collected({}, {"logits": torch.zeros(400, 4)}), None)
    assert unsure["score"] == pytest.approx(1, abs=1e-6)


def test_a_shift_is_its_square_in_the_frechet_distance():
    features = torch.randn(400, 3, generator=rng(), dtype=torch.float64)
    real = Collected({"features": [statistics(features)]}, {})
    made = Collected({"features": [statistics(part + 2.0) for part in features.split(100)]}, {})
    assert METRICS["fd"].of(made, real)["fd"] == pytest.approx(3 * 2.0**2, rel=1e-6)
    assert METRICS["fd"].of(Collected(real.statistics, {}), real)["fd"] == pytest.approx(0, abs=1e-9)


def test_kid_of_equal_sets_of_one_subset_is_nothing():
    features = torch.randn(50, 3, generator=rng())
    assert len(features) < KID_SUBSET_SAMPLES and kid_of_subsets(features, features) < 0 < kid_of_subsets(
        features + 1, features
    )


def test_every_family_yields_metrics_by_their_names():
    both = [torch.randn(40, 3, generator=rng(seed)) for seed in range(2)]
    sets = [
        Collected({layer: [statistics(x)] for layer in ("features", "spatial")}, {"features": x, "logits": x})
        for x in both
    ]
    for name, metric in METRICS.items():
        values = metric.of(*sets)
        assert any(map(is_metric, values)), name
