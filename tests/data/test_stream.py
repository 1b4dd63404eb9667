"""A stream reads each example once an epoch, shuffled, and finds any position again on any number of
processes."""

import gc
import json

import pytest
import torch

from fastdiff.data import stream as streams
from fastdiff.data.registry import batch_at
from fastdiff.data.stream_source import Row, StreamSource
from tests.helpers.shards import ORIGIN, opened, seen

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")


# ---- order


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


# ---- resuming


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
    rows = StreamSource.rows
    monkeypatch.setattr(StreamSource, "rows", lambda self, *at: opened_at.append(at) or rows(self, *at))
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
    assert sum(isinstance(thing, Row) for thing in gc.get_objects()) <= 40 + 4
