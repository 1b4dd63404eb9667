"""A lane of a stream walks its shards for ever, and rows are shuffled a block at a time."""

import datasets
import numpy as np
import pytest

from fastdiff.data.lane import START_MARK, Lane
from fastdiff.data.stream_source import StreamSource
from tests.helpers.shards import SIZES, opened, seen

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")


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


def numbered(shards):
    """Yield rows whose labels count them, of the shards that are given."""
    for shard in shards:
        for row in range(5):
            yield {"image": {"path": None, "bytes": b""}, "label": 5 * shard + row}


@pytest.fixture
def source():
    kinds = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int64")})
    table = datasets.IterableDataset.from_generator(numbered, kinds, {"shards": [0, 1, 2, 3]})
    return StreamSource("some", table, 8, "rgb", None, None, 20)


def labels(lane, start, stop):
    return [lane.item(i).fields["label"] for i in range(start, stop)]


def test_a_lane_goes_on_from_its_mark(source):
    whole = Lane(source, 1, 2, 4, 0, START_MARK)
    wanted = labels(whole, 0, 40)
    assert sorted(wanted[:30]) == sorted(3 * [*range(5, 10), *range(15, 20)])  # epochs of ten rows
    walked = Lane(source, 1, 2, 4, 0, START_MARK)
    labels(walked, 0, 23)
    mark = walked.mark(23)
    again = Lane(source, 1, 2, 4, 0, mark)
    assert labels(again, 23, 40) == wanted[23:]
    assert again.passed(2) and not again.passed(39) and again.mark(2) is None


def test_the_blocks_of_lanes_end_one_after_another(source):
    ends = [
        [i for i in range(8) if lane.block_of(i) != lane.block_of(i + 1)]
        for lane in (Lane(source, number, 4, 4, 0, START_MARK) for number in range(4))
    ]
    assert ends == [[3, 7], [2, 6], [1, 5], [0, 4]]
