"""Evaluators: streamed, cached, named, the same on any number of processes, and never blind to broken samples."""

import json
import math
import os
import socket

import pytest
import torch
import torch_fidelity
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils.data import Dataset as TorchDataset

from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import cache_folder
from fastdiff.data.image_grid import to_uint8
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation.evaluator import evaluate_images, open_evaluators
from fastdiff.evaluation.metrics.frechet import Statistics, frechet_distance
from fastdiff.evaluation.metrics.kernels import discrepancy, distance

FEATURES = "checkpoints/digits/features"


class Bytes(TorchDataset):
    """What torch-fidelity wants: uint8 images of three channels."""

    def __init__(self, images):
        self.images = to_uint8(images).expand(-1, 3, -1, -1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def data(images, labels=None, name="digits"):
    return Dataset(name, images, labels, 0 if labels is None else 10)


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def statistics(features):
    out = Statistics(features.shape[1])
    out.add(features)
    return out


def judged(evaluator, images, accelerator, batch=90, labels=None):
    for rows in torch.arange(len(images)).split(batch):
        evaluator.add(rows, images[rows], None if labels is None else labels[rows])
    return evaluator.result(accelerator)


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


# ---- the data's side


def test_the_reference_is_computed_once_and_a_changed_data_set_is_noticed(
    digits, accelerator, tmp_path, monkeypatch
):
    real = data(digits[0][:300])
    [evaluator] = open_evaluators(real, None, None, "cpu", tmp_path)
    first = judged(evaluator, digits[0][300:500], accelerator).values
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and all(
        real.fingerprint in name and evaluator.net.fingerprint in name for name in names
    )

    [again] = open_evaluators(real, None, None, "cpu", tmp_path)
    monkeypatch.setattr(type(real), "get", None)  # the cache answers: the data are not read again
    assert judged(again, digits[0][300:500], accelerator).values == first
    monkeypatch.undo()

    changed = digits[0][:300].clone()
    changed[7, 0, 3, 3] += 0.5
    [other] = open_evaluators(data(changed), None, None, "cpu", tmp_path)
    assert judged(other, digits[0][300:500], accelerator).values["fd_digits"] != first["fd_digits"]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_cache_is_made_again(digits, accelerator, tmp_path):
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    first = judged(evaluator, digits[0][300:500], accelerator).values
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    assert judged(evaluator, digits[0][300:500], accelerator).values == first


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path))
    assert cache_folder("reference") == tmp_path / "reference"
    monkeypatch.delenv("FASTDIFF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder("reference")) == "/somewhere/fastdiff/reference"


def test_a_cache_that_cannot_be_written_is_done_without(digits, accelerator, tmp_path):
    (tmp_path / "file").write_text("")
    [evaluator] = open_evaluators(data(digits[0][:300]), None, ("fd",), "cpu", tmp_path / "file" / "below")
    assert judged(evaluator, digits[0][300:500], accelerator).values["fd_digits"] > 0


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_or_one_image_reference_is_refused(digits, count):
    with pytest.raises(
        FastdiffError, match=f"data digits: {count} example.* as a reference for fd, kd, pr at least 6"
    ):
        open_evaluators(data(digits[0][:count]), None, None, "cpu")
    with pytest.raises(FastdiffError, match=f"data digits: {count} example.* at least 2 are needed"):
        open_evaluators(data(digits[0][:count]), None, ("fd",), "cpu")


@pytest.mark.parametrize("value", [255.0, float("nan")])
def test_a_reference_that_is_no_image_is_refused(digits, accelerator, tmp_path, value):
    images = digits[0][:300].clone()
    images[7, 0, 3, 3] = value
    [evaluator] = open_evaluators(data(images), None, ("fd",), "cpu", tmp_path)
    with pytest.raises(FastdiffError, match=r"data digits: values from .*, expected images in \[-1, 1\]"):
        judged(evaluator, digits[0][300:500], accelerator)
    assert list(tmp_path.iterdir()) == []


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
    with pytest.raises(FastdiffError, match="n = 3: metrics fd, kd, pr need at least 6 samples"):
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


# ---- what cannot be


@pytest.mark.parametrize(
    "images, extractors, metrics, message",
    [
        (torch.zeros(4, 3, 32, 32), FEATURES, None, r"digits takes \(1 or 3, 8, 8\)"),
        (torch.zeros(4, 2), "inception", None, "leave extractor out"),
        (torch.zeros(4, 2), None, ("score",), "'score' needs a feature network"),
        (torch.zeros(4, 1, 8, 8), FEATURES, ("fdd",), "'fdd' is unknown, choose from fd, kd"),
        (
            torch.zeros(4, 1, 8, 8),
            FEATURES,
            ("accuracy",),
            "'accuracy' is not to be had in digits.* 10 .* the data have 0",
        ),
    ],
)
def test_what_an_evaluator_cannot_do(images, extractors, metrics, message):
    with pytest.raises(FastdiffError, match=message):
        open_evaluators(data(images), extractors, metrics, "cpu")


def test_two_networks_of_one_name_are_refused(digits):
    with pytest.raises(FastdiffError, match="two of them are called the same"):
        open_evaluators(data(digits[0][:300]), f"{FEATURES},{FEATURES}", ("fd",), "cpu")


def test_images_from_elsewhere(digits, tmp_path):
    found = evaluate_images(data(digits[0][:200]), data(digits[0][200:600]), None, ("fd",))
    assert found["fd_digits"] > 0
    with pytest.raises(FastdiffError, match="give the data a resolution"):
        evaluate_images(open_dataset("toy", n=10), data(digits[0][:10]))


# ---- processes


def evaluate_on_rank(rank, port, folder, images, vectors):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    AcceleratorState._reset_state(reset_partial_state=True)  # nor should the parent's single process
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    out = {}
    for real, samples in ((data(images[:300]), images[300:]), (data(vectors, name="toy"), vectors[:150] + 1)):
        [evaluator] = open_evaluators(real, None, None, "cpu", folder)
        for indices in torch.arange(len(samples)).split(50)[rank::2]:  # three batches: two here, one there
            evaluator.add(indices, samples[indices])
        out |= evaluator.result(accelerator).values
        broken = torch.full((1, *real.shape), math.nan)
        for i in range(rank, 8, 2):  # one process's sample, known to both
            evaluator.add(torch.tensor([i]), broken if i == 5 else samples[i : i + 1])
        found = evaluator.result(accelerator)
        assert found.broken == [5] and set(found.values.values()) == {math.inf}
    (folder / f"rank{rank}.json").write_text(json.dumps(out))
    accelerator.end_training()  # ends the process group too


def test_two_processes_agree_with_one(digits, extractor, accelerator, tmp_path):
    images, vectors = digits[0][:450], torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = port, tmp_path, images, vectors
    torch.multiprocessing.start_processes(
        evaluate_on_rank, args, nprocs=2, start_method="fork"
    )  # imports once
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    alone = {}
    for real, samples in ((data(images[:300]), images[300:]), (data(vectors, name="toy"), vectors[:150] + 1)):
        [evaluator] = open_evaluators(real, None, None, "cpu", tmp_path / "other")
        alone |= judged(evaluator, samples, accelerator).values
    assert ranks[0] == pytest.approx(alone, rel=1e-4)
    fd = frechet_distance(
        statistics(extractor(images[300:])["features"]), statistics(extractor(images[:300])["features"])
    )
    assert alone["fd_digits"] == pytest.approx(fd, rel=1e-6)
    assert len(list(tmp_path.glob("digits-*statistics.safetensors"))) == 1
