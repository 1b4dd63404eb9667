"""A stream reads each example once an epoch, shuffled, and finds any position again on any number of processes."""

import copy
import gc
import io
import json
import shutil
import tarfile
from functools import cache
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fastdiff.core.errors import FastdiffError
from fastdiff.data import stream as streams
from fastdiff.data.registry import DATASETS, batch_at, open_dataset
from fastdiff.runs.recipe import check

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")
SIZES = [31, 17, 24, 9, 40, 12, 22]  # of shards; on 4 lanes: 71, 29, 46 and 9 examples
ORIGIN = (load_digits().images * 15).round().astype(np.uint8)[:, None]


@pytest.fixture
def few_lanes_and_a_private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(streams, "LANES", 4)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "png")
    return file.getvalue()


def pack(path, samples) -> None:
    """A tar of samples {extension: bytes}."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, fields in enumerate(samples):
            for extension, content in fields.items():
                member = tarfile.TarInfo(f"{path.stem}-{number:04d}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def digits(start, count):
    """Digits labelled by their own numbers, so that a label tells which example it is."""
    return [{"png": png(ORIGIN[i]), "cls": str(i).encode()} for i in range(start, start + count)]


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    for shard, size in enumerate(SIZES):
        pack(folder / f"{shard:02d}.tar", digits(sum(SIZES[:shard]), size))
    return folder


def opened(path, **options):
    """A stream at its beginning."""
    usual = {"resolution": 8, "colour": "grey", "classes": 1797, "buffer": 24, "reference": 50}
    stream = copy.copy(listed(path=str(path), **usual | options))
    stream.seek({})
    return stream


@cache
def listed(**options):
    return open_dataset("stream", **options)


def seen(stream, start, count, size=12, seed=0, world=1) -> list[int]:
    """The examples at positions start .. start+count-1, as read by one process after another."""
    ranks = stream if isinstance(stream, list) else [stream]
    numbers = torch.zeros(count, dtype=torch.long)
    for position in range(start, start + count, size):
        for rank, own in enumerate(ranks):
            rows = own.read(position, size, seed, rank, len(ranks))
            assert torch.equal(rows.x0, torch.from_numpy(ORIGIN[rows.labels.numpy()]))
            numbers[rows.positions - start] = rows.labels
    return numbers.tolist()


# Order


def test_a_lane_reads_every_example_once_an_epoch(tars):
    stream = opened(tars)
    assert (stream.shards, stream.lanes, stream.block, stream.shape) == (7, 4, 6, (1, 8, 8))
    order = np.array(seen(stream, 0, 720)).reshape(-1, 4).T
    for number, lane in enumerate(order):
        own = np.concatenate([np.arange(sum(SIZES[:s]), sum(SIZES[: s + 1])) for s in range(number, 7, 4)])
        shift = number * 6 // 4
        for stop in range(6 - shift, 180, 6):  # where blocks end, as many have come as without shuffling
            counts = np.bincount(lane[:stop], minlength=sum(SIZES))[own]
            assert counts.sum() == stop and set(counts) <= {stop // len(own), -(-stop // len(own))}


def test_rows_are_shuffled_in_blocks_and_shards_in_epochs(tars):
    lane = np.array(seen(opened(tars), 0, 720))[::4]  # lane 0: shards 0 and 4, 71 examples
    blocks = lane.reshape(-1, 6)
    assert (np.sort(blocks) != blocks).any(1).mean() > 0.9 and (
        np.ptp(np.sort(blocks[:5]), axis=1) == 5
    ).all()
    epochs = [lane[:71].tolist(), lane[71:142].tolist()]
    assert epochs[0] != epochs[1]
    firsts = {seen(opened(tars), 0, 12, seed=seed)[0] // 31 for seed in range(8)}
    assert len(firsts) == 2  # either shard may come first
    assert seen(opened(tars), 0, 48, seed=1) != seen(opened(tars), 0, 48) == seen(opened(tars), 0, 48, size=4)


@pytest.mark.parametrize("world", [2, 3, 4, 6])
def test_processes_together_see_what_one_sees(tars, world):
    ranks = [opened(tars) for _ in range(world)]
    assert seen(ranks, 0, 480) == seen(opened(tars), 0, 480)
    if 4 % world == 0:
        assert [len(rank.marks(480)) for rank in ranks] == [4 // world] * world  # lanes of its own alone


def test_a_batch_of_a_stream_is_an_ordinary_batch(tars):
    stream = opened(tars, classes=1797)
    batch = batch_at(stream, 24, 12, 5, flip=True, guidance=(1.0, 3.0))
    assert (
        batch.x0.dtype == torch.float32
        and batch.x0.shape == (12, 1, 8, 8)
        and set(batch.cond) == {"label", "guidance"}
    )
    plain = torch.from_numpy(ORIGIN[batch.cond["label"].numpy()]) / 127.5 - 1
    mirrored = (batch.x0 != plain).flatten(1).any(1)
    assert 0 < mirrored.sum() < 12
    assert torch.equal(batch.x0[mirrored], plain[mirrored].flip(-1)) and stream.noise is None


# Resuming


@pytest.mark.parametrize(  # in a block, a shard, an epoch of every lane
    ("cut", "before", "after"),
    [(12, 1, 1), (36, 2, 1), (36, 2, 4), (132, 1, 1), (132, 4, 3), (288, 3, 2), (720, 2, 4), (720, 3, 1)],
)
def test_any_cut_resumes_on_any_number_of_processes(tars, cut, before, after):
    first, second = ([opened(tars) for _ in range(world)] for world in (before, after))
    whole = seen(opened(tars), 0, cut + 120)
    assert seen(first, 0, cut + 36)[:cut] == whole[:cut]  # the readers are ahead of what was trained on
    marks = json.loads(json.dumps(streams.merged(rank.marks(cut) for rank in first)))
    assert set(marks) == {"0", "1", "2", "3"} and len(json.dumps(marks)) < 200
    for rank in second:
        rank.seek(marks)
    assert seen(second, cut, 120) == whole[cut:]


def test_a_resumed_stream_opens_the_shard_it_stopped_in(tars, monkeypatch):
    stream = opened(tars)
    seen(stream, 0, 720)
    marks, opened_at = stream.marks(720), []
    rows = streams.Stream.rows
    monkeypatch.setattr(streams.Stream, "rows", lambda self, *at: opened_at.append(at) or rows(self, *at))
    again = opened(tars)
    again.seek(marks)
    assert seen(again, 720, 4, size=4) == seen(stream, 720, 4, size=4)
    where = {shard % 4: row for shard, row in reversed(opened_at)}
    assert len(where) == 4 and all(where.values()) and len(opened_at) <= 8  # where each lane began


def test_marks_are_kept_for_what_lies_behind_and_then_forgotten(tars):
    stream = opened(tars)
    seen(stream, 0, 480)
    early, late = stream.marks(24), stream.marks(480)
    for position, marks in ((24, early), (480, late)):
        again = opened(tars)
        again.seek(marks)
        assert seen(again, position, 24) == seen(opened(tars), 0, 504)[position : position + 24]
    assert all(len(lane.marks) <= 2 for lane in stream._lanes.values())
    assert opened(tars).marks(0) == {} and streams.merged([{"0": [3, 1, 0, 2]}, {"0": [2, 0, 1, 9]}]) == {
        "0": [3, 1, 0, 2]
    }


def test_another_seed_or_an_earlier_position_begins_anew(tars):
    stream = opened(tars)
    whole = seen(stream, 0, 240)
    assert seen(stream, 24, 48) == whole[24:72]
    assert seen(stream, 0, 48, seed=3) == seen(opened(tars), 0, 48, seed=3)
    stream.seek({})
    assert seen(stream, 0, 48) == whole[:48]


def test_no_more_rows_are_held_than_the_buffer(tars):
    stream = opened(tars, buffer=40)
    seen(stream, 0, 480)
    gc.collect()
    assert sum(isinstance(thing, streams._Row) for thing in gc.get_objects()) <= 40 + 4


# What a path may be


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


def test_a_folder_of_images_is_mixed(tmp_path):
    for i in range(90):
        (tmp_path / f"kind{i // 30}").mkdir(exist_ok=True)
        (tmp_path / f"kind{i // 30}" / f"{i:02d}.png").write_bytes(png(ORIGIN[i]))
    stream = opened(tmp_path, classes=0, reference=20)
    rows = stream.read(0, 88, 0)
    assert (stream.classes, stream.lanes) == (3, 4) and stream.reference.labels.unique().tolist() == [0, 1, 2]
    assert (
        len({image.numpy().tobytes() for image in rows.x0}) > 80
    )  # blocks at an epoch's end mix two of them
    in_memory = open_dataset(str(tmp_path), colour="grey")
    known = {
        image.numpy().tobytes(): int(label) for image, label in zip(in_memory.examples, in_memory.labels)
    }
    assert [known[image.numpy().tobytes()] for image in rows.x0] == rows.labels.tolist()


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


# What goes wrong


def test_options_are_refused_in_one_line(tars, tmp_path):
    (tmp_path / "empty").mkdir()
    pack(tmp_path / "texts" / "0.tar", [{"txt": b"hello"}])
    pack(tmp_path / "words" / "0.tar", [{"png": png(ORIGIN[0]), "label.txt": b"cat"}])
    for path, options, words in [
        (tars, {"classes": 0}, "set `classes` to how many kinds of label 'cls' has"),
        (tars, {"column": "jpg"}, "no column 'jpg'; set `column` to one of"),
        (tars, {"buffer": 0}, "buffer must be at least 1"),
        (tars, {"size": 3}, "'size'; its options: path, resolution, split"),
        (tmp_path / "empty", {}, "no images found"),
        (tmp_path / "no*.tar", {}, "no such file or folder"),
        (tmp_path / "texts", {"classes": 0}, "no column of images"),
        (tmp_path / "words", {"label_column": "label.txt"}, "labels in column 'label.txt' must be integers"),
        (tmp_path / "words", {}, "1797 classes, but no labels found; set `label_column`"),
    ]:
        with pytest.raises(FastdiffError, match=words):
            opened(path, **options)
    with pytest.raises(FastdiffError, match="name: stream, path"):
        open_dataset(str(tars))
    with pytest.raises(FastdiffError, match="data.resolution is missing"):
        check(DATASETS, "stream", {"path": str(tars)}, "data")


@pytest.mark.parametrize(
    ("sixth", "words"),
    [
        (
            {"png": b"hello", "cls": b"3"},
            r"shard 1 of 1, row 6 \(0-0006\.png of .*0\.tar\): not a readable image",
        ),
        (
            {"png": png(ORIGIN[0]), "cls": b"12"},
            r"row 6 \(.*\): label 12, expected 0 to 9 in 'cls' \(`classes: 10`\)",
        ),
        ({"png": png(ORIGIN[0])}, r"row 6 \(.*\): no label, expected 0 to 9"),
        ({"cls": b"3"}, r"row 6 \(.*0\.tar\): not a readable image"),
        ({"png": png(ORIGIN[0]), "cls": b"cat"}, r"row 6: cannot be read on \(invalid literal"),
    ],
)
def test_a_bad_row_is_named(tmp_path, sixth, words):
    good = [{"png": png(ORIGIN[i]), "cls": b"1"} for i in range(8)]
    pack(tmp_path / "tars" / "0.tar", good[:6] + [sixth] + good[6:])  # five tell what columns there are
    with pytest.raises(FastdiffError, match=words):
        opened(tmp_path / "tars", classes=10).read(0, 9, 0)


def test_a_shard_that_vanished_or_is_cut_short_is_named(tars, tmp_path):
    for damage, words in [(Path.unlink, "No such file"), (cut, "unexpected end of data")]:
        folder = shutil.copytree(tars, tmp_path / words)
        stream = opened(folder)
        seen(stream, 0, 24)
        damage(folder / "05.tar")
        with pytest.raises(
            FastdiffError, match=rf"shard 6 of 7, row \d+: cannot be read on \(.*{words}.*mend it"
        ):
            seen(stream, 24, 480)


def cut(file) -> None:
    file.write_bytes(file.read_bytes()[:2000])


def test_shards_without_a_row_do_not_hang(tmp_path):
    pack(tmp_path / "tars" / "0.tar", digits(0, 8))
    pack(tmp_path / "tars" / "1.tar", [])
    with pytest.raises(FastdiffError, match="no rows in shards 2; remove what is empty"):
        opened(tmp_path / "tars").read(0, 8, 0)
