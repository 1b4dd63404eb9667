"""Rows of a stored model's speed: appended with their provenance."""

import json

import pytest

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.profiling.record import record
from fastdiff.networks import unet
from tests.helpers.swept import model, stored


def test_rows_are_yielded_and_appended_as_they_are_measured(tmp_path):
    path = str(stored(tmp_path / "teacher", model(), "denoising"))
    out = tmp_path / "new/out"

    def lines():
        return [json.loads(line) for line in (out / "speed.jsonl").read_text().splitlines()]

    rows = record(path, lambda net: ({"steps": k, "shape": list(net.shape)} for k in (1, 2)), out)
    first = next(rows)
    assert [line["steps"] for line in lines()] == [1]
    assert first.items() >= {"model": path, "method": "denoising", "steps": 1, "shape": [2]}.items()
    assert "versions" in first and "commit" in first
    list(rows)
    list(record(path, lambda net: iter([{"steps": 1}]), out))
    assert [line["steps"] for line in lines()] == [1, 2, 1] and len({line["key"] for line in lines()}) == 3


def test_a_model_of_images_is_refused_before_anything_is_written(tmp_path):
    net = unet((1, 8, 8), channels=(8, 8), layers=1, groups=4, image=1)
    path = stored(tmp_path / "upper", Denoiser(net, Cosine(), "v", (1, 8, 8)), "denoising")
    with pytest.raises(FastdiffError, match="expected a model without prompts and image conditions"):
        next(record(str(path), lambda net: iter([]), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
