"""A model in a benchmark: opened with its metadata, and known by its weights as they were."""

import torch

from fastdiff.evaluation.contestant import Contestant
from fastdiff.io.fingerprint import fingerprint
from tests.helpers.swept import model, stored


def test_a_contestant_is_its_stored_model(tmp_path):
    made = model()
    path = stored(tmp_path / "teacher", made, "denoising")
    found = Contestant.open("first", path, torch.device("cpu"))
    assert (found.name, found.notes["method"], found.notes["cost"]["images"]) == ("first", "denoising", 640)
    x, t = torch.randn(3, 2), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(found.model(x, t).x0, made(x, t).x0)


def test_its_fingerprint_is_taken_once(tmp_path):
    path = stored(tmp_path / "teacher", model(), "denoising")
    found, before = Contestant.open("first", path, torch.device("cpu")), fingerprint(path)
    assert found.weights == before
    stored(path, model(1), "denoising")
    assert found.weights == before != Contestant.open("first", path, torch.device("cpu")).weights
