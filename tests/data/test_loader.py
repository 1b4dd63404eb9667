"""The loader yields the batches of batch_at in their order, reads ahead, and never hangs."""

import threading
import time

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.dataset import Dataset
from fastdiff.data.loader import Loader
from fastdiff.data.registry import batch_at, open_dataset
from tests.helpers.shards import opened

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.usefixtures("few_lanes_and_a_private_cache")]


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastdiff")]


def same(a, b) -> bool:
    return torch.equal(a.x0, b.x0) and all(
        [torch.equal(a.cond[key], b.cond[key]) for key in a.cond]
        + [
            torch.equal(getattr(a, rng).normal((3,)), getattr(b, rng).normal((3,)))
            for rng in ("rng", "shared")
        ]
    )


class Slow(Dataset):
    """Digits that are read ahead, whose every batch takes a while and may fail."""

    ahead = 3
    delay, fails_at, error = 0.0, None, None

    def read(self, position, *args):
        time.sleep(self.delay)
        if position == self.fails_at:
            raise self.error
        return super().read(position, *args)


def slow(**traits) -> Slow:
    plain = open_dataset("digits")
    data = Slow("slow", plain.examples, plain.labels, 10)
    for name, value in traits.items():
        object.__setattr__(data, name, value)
    return data


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("kind", ["digits", "stream"])
def test_parts_and_processes_are_shares_of_one_batch(tars, kind, parts, world):
    def data():
        return opened(tars) if kind == "stream" else open_dataset("digits")

    whole = data()
    options = {"seed": 5, "flip": True, "guidance": (1.0, 2.0)}
    loaders = [Loader(data(), 1788, 24, parts, rank=rank, world=world, **options) for rank in range(world)]
    for position in (1788, 1812, 1836):
        one = batch_at(whole, position, 24, **options)
        noise, shared = one.rng.normal((3,)), one.shared.normal((3,))
        for i in range(parts):
            for rank, loader in enumerate(loaders):
                share, deal = loader.next(), slice(i * world + rank, None, parts * world)
                assert torch.equal(share.x0, one.x0[deal]) and torch.equal(
                    share.rng.normal((3,)), noise[deal]
                )
                assert all(torch.equal(share.cond[key], one.cond[key][deal]) for key in one.cond)
                assert torch.equal(share.shared.normal((3,)), shared)
    for loader in loaders:
        loader.close()


def test_a_part_is_what_one_of_more_processes_gets():
    data = open_dataset("digits")
    with Loader(data, 0, 24, 3, seed=1, rank=1, world=2) as loader:
        for i in range(3):
            assert same(loader.next(), batch_at(data, 0, 24, 1, rank=2 * i + 1, world=6))
    with pytest.raises(FastdiffError, match="batch = 24: expected a multiple of 10"):
        Loader(data, 0, 24, 5, world=2)


def test_pairs_keep_their_noise():
    data = Dataset("pairs", torch.randn(30, 2), noise=torch.randn(30, 2))
    with Loader(data, 12, 12) as loader:
        assert torch.equal(loader.next().eps, batch_at(data, 12, 12, 0).eps)


def test_marks_taken_beside_the_reader_resume_the_stream(tars):
    first, second, whole = opened(tars), opened(tars), opened(tars)
    with Loader(first, 0, 12) as loader:
        for position in range(0, 480, 12):
            loader.next()
            marks = first.marks(position + 12)
    second.seek(marks)
    with Loader(second, 480, 12) as loader:
        assert same(loader.next(), batch_at(whole, 480, 12, 0))


def test_only_a_few_batches_are_read_ahead():
    asked = []
    data = slow()
    object.__setattr__(
        data, "read", lambda position, *args: asked.append(position) or Dataset.read(data, position, *args)
    )
    with Loader(data, 0, 10) as loader:
        time.sleep(0.3)
        assert asked == [10 * i for i in range(3)]
        loader.next()
        time.sleep(0.3)
        assert asked == [10 * i for i in range(4)]


def test_waited_is_the_time_that_a_slow_reader_costs():
    with Loader(slow(delay=0.05), 0, 10, 2) as loader:
        start = time.perf_counter()
        for _ in range(20):
            loader.next()
        spent = time.perf_counter() - start
        assert 0.45 < loader.waited <= spent
        slowly, loader.waited = loader.waited / 20, 0.0
        while not all(batch.done() for batch in loader._pending):  # as in a training slower than its data
            time.sleep(0.01)
        loader.next()
        assert loader.waited < slowly / 2


def test_what_is_in_memory_is_read_without_a_thread():
    with Loader(slow(ahead=0, delay=0.05, fails_at=20, error=ValueError("no")), 0, 10) as loader:
        assert [len(loader.next().x0) for _ in range(2)] == [10, 10] and not readers()
        assert loader.waited >= 0.1
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                loader.next()


@pytest.mark.parametrize(
    "error", [FastdiffError("a shard is gone"), ZeroDivisionError("a bug"), SystemExit(3)]
)
def test_what_stops_the_reader_is_raised_at_its_batch_and_ever_after(error):
    with Loader(slow(fails_at=20, error=error), 0, 10) as loader:
        assert [len(loader.next().x0) for _ in range(2)] == [10, 10]
        for _ in range(3):
            with pytest.raises(type(error)) as caught:
                loader.next()
            assert caught.value is error and "read" in [entry.name for entry in caught.traceback]


def test_a_vanished_shard_reaches_the_caller(tmp_path, tars):
    import shutil

    copy = shutil.copytree(tars, tmp_path / "copy")
    with Loader(opened(copy), 0, 12) as loader:
        loader.next()
        (copy / "05.tar").unlink()
        with pytest.raises(FastdiffError, match="shard 6 of 7"):
            for _ in range(40):
                loader.next()


def test_close_leaves_no_thread(tars):
    assert not readers()
    for data in (opened(tars), slow(), slow(fails_at=0, error=ValueError("no"))):
        with Loader(data, 0, 12):
            assert readers()
        assert not readers()
    asked = []
    data = slow(delay=0.2)
    object.__setattr__(
        data, "read", lambda position, *args: asked.append(position) or Dataset.read(data, position, *args)
    )
    loader = Loader(data, 0, 12)
    loader.close()
    loader.close()
    begun = len(asked)
    time.sleep(0.3)
    assert len(asked) == begun and not readers()  # what had not begun is not read


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_batches_come_from_pinned_memory():
    data = open_dataset("digits")
    with Loader(data, 0, 24, 2, seed=1, flip=True, device="cuda") as loader:
        assert loader._read(0)[0].x0.is_pinned()
        for i in range(2):
            there, here = loader.next(), batch_at(data, 0, 24, 1, True, rank=i, world=2)
            assert there.x0.is_cuda and torch.allclose(there.x0.cpu(), here.x0, atol=1e-6)
            assert torch.equal(there.rng.uniform().cpu(), here.rng.uniform())
