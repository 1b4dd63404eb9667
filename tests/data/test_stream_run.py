"""A run that learns from a stream: to the end, after a break, and when a shard vanishes under it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fastdiff.core.errors import FastdiffError
from fastdiff.data.stream import Stream
from fastdiff.data.stream_source import StreamSource
from fastdiff.evaluation.real_data import DIVISIONS
from fastdiff.runs import recipe as recipes
from fastdiff.runs.run import run
from fastdiff.runs.status import status
from fastdiff.training.checkpoint import load_state
from tests.helpers.rows import model_rows
from tests.helpers.shards import pack, png

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache", "one_thread")


LAST = "teacher/state/00000020/tensors.safetensors"


def recipe(shards, **more):
    """Ten steps of 24 examples are more than an epoch of any lane."""
    return recipes.build(
        {
            "name": "streamed",
            "data": {
                "name": "stream",
                "path": str(shards),
                "resolution": 8,
                "colour": "grey",
                "classes": 1797,
                "buffer": 24,
                "reference": 40,
            },
            "model": {
                "net": {"name": "unet", "channels": [8], "layers": 1},
                "schedule": "flow",
                "predicts": "velocity",
            },
            "train": {"steps": 20, "batch": 24, "save_every": 10, "log_every": 5, "flip": True},
            "stages": {"teacher": {"method": "denoising"}},
            "bench": {"steps": [1], "baselines": [], "n": 20, "extractor": "checkpoints/digits/features"},
        }
        | more
    )


def broken_at(monkeypatch, position, error):
    """Reading the batch that begins there fails once."""
    read, calls = Stream.read, []

    def failing(self, start, *rest):
        if start == position and not calls:
            calls.append(start)
            raise error
        return read(self, start, *rest)

    monkeypatch.setattr(Stream, "read", failing)


@pytest.mark.long
def test_a_run_on_a_stream_resumes_bit_for_bit(tars, tmp_path, monkeypatch, capsys):
    whole = run(recipe(tars, trackers=["tensorboard"]), tmp_path / "whole")
    assert "1 stages on a stream of 7 shards of" in " ".join(capsys.readouterr().out.split())
    broken_at(monkeypatch, 13 * 24, OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        run(recipe(tars), tmp_path / "broken")
    _, record = load_state(tmp_path / "broken/teacher/state")
    assert record["step"] == 10 and set(record["data"]) == {"0", "1", "2", "3"}
    seen = []
    monkeypatch.setattr(
        StreamSource,
        "rows",
        lambda self, shard, start=0, rows=StreamSource.rows: seen.append(start) or rows(self, shard, start),
    )
    broken = run(recipe(tars), tmp_path / "broken")
    assert any(start > 0 for start in seen)  # it went on inside of a shard
    one, two = (load_file(out / LAST) for out in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "teacher/log.jsonl").read_text() == (broken / "teacher/log.jsonl").read_text()
    rows = [[row["fd_digits"] for row in model_rows(out)] for out in (whole, broken)]
    assert rows[0] == rows[1] and len(rows[0]) == 1

    found = status(whole)  # and who was told
    assert (
        found["stage"] == "done"
        and found["done"] == ["teacher"]
        and found["rows"] == len(rows[0]) + DIVISIONS
    )
    events = EventAccumulator(str(whole / "trackers/streamed"))
    events.Reload()
    lines = [json.loads(line) for line in (whole / "teacher/log.jsonl").read_text().splitlines()]
    assert [(event.step, round(event.value, 5)) for event in events.Scalars("teacher/loss")] == [
        (line["step"], round(line["loss"], 5)) for line in lines
    ]
    assert {"teacher/grad", "teacher/images_per_s", "teacher/wait"} <= set(events.Tags()["scalars"])


def test_a_shard_that_vanishes_ends_the_run_in_one_line_and_it_goes_on_when_it_is_back(tmp_path):
    shards = tmp_path / "shards"
    for shard in range(4):
        pack(shards / f"{shard}.tar", [{"png": _png(shard), "cls": b"0"} for _ in range(30)])
    made = recipe(shards)
    made.dataset()  # opened while all are there
    (shards / "2.tar").rename(tmp_path / "away.tar")
    opened = recipes.Recipe.dataset

    def late(self):
        data = None
        (tmp_path / "away.tar").rename(shards / "2.tar")
        try:
            data = opened(self)
            data.fingerprint, data.reference  # noqa: B018 - read now
        finally:
            (shards / "2.tar").rename(tmp_path / "away.tar")
        return data

    with pytest.MonkeyPatch.context() as patch, pytest.raises(FastdiffError) as caught:
        patch.setattr(recipes.Recipe, "dataset", late)
        run(made, tmp_path / "run")
    assert "shard 3 of 4, row 0: cannot be read" in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "away.tar").rename(shards / "2.tar")
    assert (run(made, tmp_path / "run") / "report.html").exists()


def _png(value):
    return png(np.full((1, 8, 8), value * 40, np.uint8))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "trackers: 'tensorbord' is unknown, did you mean tensorboard?"),
        ("wandb", "trackers: wandb is not installed: pip install wandb, or leave it out"),
    ],
)
def test_trackers_that_are_not_there(tars, name, said):
    with pytest.raises(FastdiffError) as caught:
        recipe(tars, trackers=[name])
    assert str(caught.value) == said
