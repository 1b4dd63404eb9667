"""A plain recipe, changed and written, and what is said of it."""

import copy
from pathlib import Path

import pytest
import yaml

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.recipe import build
from fastdiff.runs.recipe_file import override

PLAIN = {
    "name": "plain",
    "data": {"name": "toy", "kind": "moons", "n": 64},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}, "schedule": "cosine", "predicts": "v"},
    "train": {"batch": 16, "lr": 0.001},
    "stages": {
        "teacher": {"method": "denoising", "train": {"steps": 2}},
        "progressive": {"method": {"name": "progressive", "steps": [4, 2]}, "teacher": "teacher"},
        "consistency": {"method": "ect", "init": "teacher"},
    },
    "bench": {"steps": [1, 2], "n": 8},
}


def changed(*assignments: str) -> dict:
    """The plain recipe with some settings changed."""
    source = copy.deepcopy(PLAIN)
    for assignment in assignments:
        override(source, assignment)
    return source


def without(*keys: str) -> dict:
    source = copy.deepcopy(PLAIN)
    inner = source
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return source


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def dump(source: dict) -> str:
    return yaml.safe_dump(source, sort_keys=False)


def complaint(source: dict) -> str:
    with pytest.raises(FastdiffError) as caught:
        build(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)
