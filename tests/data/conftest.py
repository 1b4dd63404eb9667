"""Fixtures of the data: caches of their own, and shards."""

import datasets
import pytest

from fastdiff.data import sources
from fastdiff.data import stream as streams
from tests.helpers.shards import SIZES, digits, pack


@pytest.fixture
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def few_lanes_and_a_private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    for module in (streams, sources):
        monkeypatch.setattr(module, "MAX_LANES", 4)


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    for shard, size in enumerate(SIZES):
        pack(folder / f"{shard:02d}.tar", digits(sum(SIZES[:shard]), size))
    return folder
