"""What a stream may be read from: tars, tables, folders; and options that are refused."""

import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import DATASETS, open_dataset
from fastdiff.runs.recipe import check
from tests.helpers.shards import ORIGIN, SIZES, opened, pack, png

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")


# ---- what a path may be


def test_parquet_shards_with_named_classes(tmp_path):
    kinds = datasets.Features(
        {"img": datasets.Image(), "digit": datasets.ClassLabel(names=[str(i) for i in range(10)])}
    )
    target = load_digits().target
    for shard in range(3):
        some = range(50 * shard, 50 * (shard + 1))
        rows = {"img": [Image.fromarray(ORIGIN[i, 0]) for i in some], "digit": target[list(some)].tolist()}
        datasets.Dataset.from_dict(rows, kinds).to_parquet(tmp_path / f"train-{shard}.parquet")
    for path in (tmp_path, tmp_path / "*.parquet"):
        stream = opened(path, classes=0)
        assert (stream.shards, stream.classes, stream.lanes) == (3, 10, 3)
        batch, again = stream.read(0, 150, 0), opened(path, classes=0)
        pixels = {image.numpy().tobytes(): label for image, label in zip(batch.x0, batch.labels.tolist())}
        known = {ORIGIN[i].tobytes(): int(target[i]) for i in range(150)}
        assert pixels.items() <= known.items() and len(pixels) > 130  # a block at the end mixes two epochs
        stream.read(150, 30, 0)
        again.seek(stream.marks(150))
        assert torch.equal(again.read(150, 30, 0).x0, opened(path, classes=0).read(0, 180, 0).x0[150:])


def test_labels_in_json_images_of_all_sizes_and_no_labels(tmp_path):
    some = [
        {"jpg": png(np.full((8 + i, 20, 3), 10 * i, np.uint8)), "json": b'{"kind": %d, "w": 20}' % i}
        for i in range(9)
    ]
    pack(tmp_path / "tars" / "0.tar", some)
    stream = opened(
        tmp_path / "tars", label_column="json.kind", classes=9, colour="rgb", resolution=5, buffer=9
    )
    rows = stream.read(0, 9, 0)
    assert stream.shape == (3, 5, 5) and torch.equal(rows.x0.amax((1, 2, 3)).long(), 10 * rows.labels)
    assert sorted(rows.labels.tolist()) == list(range(9))
    plain = opened(tmp_path / "tars", classes=0)
    assert (plain.classes, plain.labels, plain.read(0, 4, 0).labels) == (0, None, None)


def test_what_stands_for_a_stream(tars, tmp_path):
    stream = opened(tars)
    assert stream.described == f"a stream of 7 shards of {tars}"
    assert stream.reference.labels.tolist() == stream.labels.tolist() == list(range(50))
    assert torch.equal(stream.reference.examples, torch.from_numpy(ORIGIN[:50]))
    assert len(opened(tars, reference=9999).reference) == sum(SIZES)
    memory = open_dataset("digits")
    assert (
        memory.reference is memory
        and memory.marks(7) == {}
        and memory.described == "1,797 examples of digits"
    )
    moved = shutil.copytree(tars, tmp_path / "moved")
    assert opened(moved).fingerprint == stream.fingerprint == opened(tars, reference=3).fingerprint
    (moved / "06.tar").unlink()
    others = [
        opened(moved, reference=4),
        opened(tars, resolution=7),
        opened(tars, buffer=99),
        opened(tars, classes=2000),
    ]
    assert len({stream.fingerprint, *(other.fingerprint for other in others)}) == 5


# ---- what goes wrong


def test_options_are_refused_in_one_line(tars, tmp_path):
    (tmp_path / "empty").mkdir()
    pack(tmp_path / "texts" / "0.tar", [{"txt": b"hello"}])
    pack(tmp_path / "words" / "0.tar", [{"png": png(ORIGIN[0]), "label.txt": b"cat"}])
    for path, options, words in [
        (
            tars,
            {"classes": 0, "label_column": "cls"},
            "set `classes` .* in column 'cls'; `label_column: false`",
        ),
        (tars, {"classes": 10**9}, "classes = 1,000,000,000: expected at most 1,000,000"),
        (tars, {"split": None}, "split = None: expected the name of a split, such as train"),
        (tars, {"column": "jpg"}, "no column 'jpg'; set `column` to one of"),
        (tars, {"buffer": 0}, "buffer = 0: expected at least 1"),
        (tars, {"size": 3}, "'size'; its options: path, resolution, split"),
        (tmp_path / "empty", {}, "no images found"),
        (tmp_path / "no*.tar", {}, "no such file or folder"),
        (tmp_path / "texts", {"classes": 0}, "no column of images"),
        (tmp_path / "words", {"label_column": "label.txt"}, "labels in column 'label.txt' must be integers"),
        (tmp_path / "words", {}, "classes = 1797, but no column of labels; set `label_column`"),
    ]:
        with pytest.raises(FastdiffError, match=words):
            opened(path, **options)
    with pytest.raises(FastdiffError, match="name: stream, path"):
        open_dataset(str(tars))
    with pytest.raises(FastdiffError, match="data.resolution is missing"):
        check(DATASETS, "stream", {"path": str(tars)}, "data")
