"""Evaluators: streamed, named, and never blind to broken samples."""

import math

import pytest
import torch
import torch_fidelity
from accelerate import Accelerator
from torch.utils.data import Dataset as TorchDataset

from fastdiff.core.errors import FastdiffError
from fastdiff.data.image_grid import to_uint8
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.evaluation.opening import open_evaluators
from tests.helpers.evaluated import FEATURES, data, judged


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


class Bytes(TorchDataset):
    """What torch-fidelity wants: uint8 images of three channels."""

    def __init__(self, images):
        self.images = to_uint8(images).expand(-1, 3, -1, -1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def test_figures_are_named_after_their_features(digits, accelerator, tmp_path):
    images, labels = digits
    [evaluator] = open_evaluators(data(images[:300], labels[:300]), None, None, "cpu", tmp_path)
    found = judged(evaluator, images[300:500], accelerator, labels=labels[300:500])
    assert set(found.values) == {
        f"{family}_digits"
        for family in (
            "fd",
            "fd_inf",
            "kd",
            "kd_se",
            "precision",
            "recall",
            "density",
            "coverage",
            "nearest",
            "diversity",
            "accuracy",
            "classes",
        )
    } - {"fd_inf_digits", "kd_se_digits"} | {"kd_digits_se"}  # 50 a fold in 64 dimensions: no limit
    assert evaluator.dims == 64 and found.values["accuracy_digits"] > 0.95
    by_class, labels = found.values["classes_digits"], labels[300:500]
    weights = [(labels == label).double().mean().item() for label in range(10)]
    assert sum(w * a for w, a in zip(weights, by_class)) == pytest.approx(
        found.values["accuracy_digits"], abs=1e-3
    )
    sizes = {name: len(part) for name, part in found.terms.items()}
    assert sizes == {"kd_digits.generated": 200, "kd_digits.reference": 300}
    assert found.broken == []


def test_agrees_with_torch_fidelity(digits, extractor, accelerator, tmp_path):
    a, b = digits[0][:400], (digits[0][400:800] * 0.8 + 0.1)
    theirs = torch_fidelity.calculate_metrics(
        input1=Bytes(a),
        input2=Bytes(b),
        fid=True,
        kid=True,
        prc=True,
        isc=True,
        feature_extractor="digits",
        kid_subset_size=400,
        kid_subsets=1,
        feature_extractor_weights_path=FEATURES,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    [evaluator] = open_evaluators(data(b), None, ("fd", "kd", "pr", "score", "sfd"), "cpu", tmp_path)
    ours = judged(evaluator, a, accelerator).values
    for name, their_name in {
        "fd": "frechet_inception_distance",
        "kd": "kernel_inception_distance_mean",
        "score": "inception_score_mean",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert ours[f"{name}_digits"] == pytest.approx(theirs[their_name], rel=1e-4), name
    assert ours["sfd_digits"] > 0


@pytest.mark.parametrize("batch", [1, 37, 200])
def test_batches_do_not_matter(digits, accelerator, tmp_path, batch):
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    whole = judged(evaluator, digits[0][300:500], accelerator, batch=64).values
    assert judged(evaluator, digits[0][300:500], accelerator, batch).values == pytest.approx(whole, rel=1e-4)
    backwards = torch.arange(199, -1, -1)
    evaluator.add(backwards, digits[0][300:500][backwards])
    assert evaluator.result(accelerator).values == pytest.approx(whole, rel=1e-4)


def test_halves_of_the_digits_are_near_and_noise_is_far(digits, accelerator, tmp_path):
    shuffled = digits[0][torch.randperm(1797, generator=torch.Generator().manual_seed(0))]
    [evaluator] = open_evaluators(data(shuffled[898:]), None, None, "cpu", tmp_path)
    near = judged(evaluator, shuffled[:898], accelerator).values
    far = judged(evaluator, torch.rand(512, 1, 8, 8) * 2 - 1, accelerator).values
    assert 0 < near["fd_digits"] < 0.005 * far["fd_digits"] and near["fd_digits_inf"] < near["fd_digits"]
    assert abs(near["kd_digits"]) < 4 * near["kd_digits_se"] and far["kd_digits"] > 10 * far["kd_digits_se"]
    assert near["precision_digits"] > 0.8 > 0.2 > far["precision_digits"]
    assert near["nearest_digits"] == pytest.approx(1, abs=0.1)


# ---- broken samples


def test_a_broken_sample_is_named_and_never_averaged_away(digits, accelerator, tmp_path):
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    images = digits[0][300:500].clone()
    images[17, 0, 2, 2], images[150] = math.nan, math.inf
    found = judged(evaluator, images, accelerator)
    assert found.broken == [17, 150] and set(found.values.values()) == {math.inf} and found.terms == {}
    assert math.isfinite(
        judged(evaluator, digits[0][300:500], accelerator).values["fd_digits"]
    )  # the next is clean


def test_a_broken_vector_is_named_too(accelerator, tmp_path):
    vectors = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    [evaluator] = open_evaluators(data(vectors, name="toy"), None, ("fd", "energy"), "cpu", tmp_path)
    broken = vectors.clone()
    broken[9] = math.nan
    found = judged(evaluator, broken, accelerator)
    assert found.broken == [9] and set(found.values.values()) == {math.inf}


def test_too_few_samples_are_one_line(digits, accelerator, tmp_path):
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    with pytest.raises(FastdiffError, match="n = 3: expected at least 6 samples for the metrics fd, kd, pr"):
        judged(evaluator, digits[0][:3], accelerator)


# ---- vectors


def test_vectors_are_judged_without_a_network(accelerator, tmp_path):
    vectors = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.randn(300, 2, generator=torch.Generator().manual_seed(1)) + 1
    [evaluator] = open_evaluators(data(vectors, name="toy"), None, None, "cpu", tmp_path)
    assert (evaluator.extractor, evaluator.reference) == ("none", data(vectors).fingerprint)
    found = judged(evaluator, samples, accelerator)
    drawn = torch.randperm(5000, generator=torch.Generator().manual_seed(0))[:4000].sort().values
    assert found.values["energy"] == pytest.approx(
        discrepancy(samples, vectors[drawn], distance).value, rel=1e-9
    )
    assert found.values["energy_se"] > 0 and found.values["swd"] == pytest.approx(1, abs=0.1)
    assert {"precision", "recall", "coverage", "diversity"} <= set(found.values)
