"""A disk that is full or read-only, a directory that another run holds: what was saved stays whole,
and the run goes on."""

import os
import subprocess

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.lock import lock
from fastdiff.runs import recipe as recipes
from fastdiff.runs.disk_errors import writing
from fastdiff.runs.run import run
from fastdiff.training.checkpoint import load_state, states

RECIPE = {
    "name": "disk",
    "data": {"name": "toy", "n": 300},
    "model": {"net": {"name": "mlp", "width": 64, "depth": 2}, "schedule": "flow", "predicts": "velocity"},
    "train": {"steps": 30, "batch": 16, "save_every": 10, "log_every": 10, "keep_last": 3},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": [], "n": 16},
}
LAST = "teacher/state/00000030/tensors.safetensors"


@pytest.fixture
def small(tmp_path):
    """A file system of 700 KB in memory, and a way to mount it anew with other options."""
    place = tmp_path / "small"
    place.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], capture_output=True
        )

    if mount("size=700k").returncode:
        pytest.skip("no right to mount a tmpfs")
    yield place, lambda *options: mount("remount", *options)
    subprocess.run(["umount", "-l", place], check=True)


def weights(out):
    return load_file(out / LAST)


@pytest.mark.long
def test_a_full_disk_leaves_the_state_before_and_room_lets_the_run_go_on(small, tmp_path):
    place, mount = small
    out = place / "run"
    with pytest.raises(FastdiffError) as caught:
        run(recipes.build(RECIPE), out)
    assert (
        str(caught.value).startswith(str(out))
        and "no space left on device: make room, then run the same command again" in str(caught.value)
        and "\n" not in str(caught.value)
    )
    _, record = load_state(out / "teacher/state")
    assert record["step"] in (10, 20) and not [*out.rglob(".*.new")] and not [*out.glob("crash-*")]
    mount("size=20m")
    run(recipes.build(RECIPE), out)
    run(recipes.build(RECIPE), tmp_path / "whole")
    assert all(torch.equal(value, weights(tmp_path / "whole")[name]) for name, value in weights(out).items())


def test_a_directory_that_turns_read_only_is_named(small):
    place, mount = small
    mount("size=20m")
    run(recipes.build(RECIPE | {"stages": {"first": {"method": "denoising"}}}), place / "run", only="first")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    mount("ro")
    longer = RECIPE | {
        "stages": {"first": {"method": "denoising"}, "second": {"method": "denoising", "init": "first"}}
    }
    for recipe, out in ((longer, place / "run"), (RECIPE, place / "other")):
        with pytest.raises(FastdiffError, match=r"[Rr]ead-only file system.*choose another"):
            run(recipes.build(recipe), out)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    mount("rw")
    assert [state.name for state in states(place / "run/first/state")] == ["00000010", "00000020", "00000030"]


def test_a_second_run_in_a_directory_is_told_who_works_there(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with (
        lock(out),
        pytest.raises(FastdiffError, match=rf"run is being written by process {os.getpid()} .*another --out"),
    ):
        run(recipes.build(RECIPE), out)
    assert [path.name for path in out.iterdir()] == [".lock"]
    run(recipes.build(RECIPE), out)  # the lock's file stays and means nothing
    assert (out / "report.html").exists()


def test_what_libraries_tell_as_text_is_understood_and_the_rest_is_passed_on(tmp_path):
    with pytest.raises(FastdiffError, match="no space left on device: make room"), writing(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (
        FileNotFoundError(2, "No such file"),
        ValueError("os error"),
        PermissionError(13, "no", "/data/a.png"),
    ):
        with pytest.raises(type(error)), writing(tmp_path):
            raise error


def test_an_error_of_the_program_leaves_a_report_and_its_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fastdiff.runs.run.train_all", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(recipes.build(RECIPE), tmp_path / "run")
    [report] = (tmp_path / "run").glob("crash-*.txt")
    assert "ZeroDivisionError" in report.read_text() and str(report) in capsys.readouterr().err


@pytest.mark.parametrize("out", ["file", "file/below", "link", "x" * 300])
def test_a_directory_that_cannot_be_made_is_named_before_anything_else(tmp_path, out):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("/nowhere/else")
    with pytest.raises(
        FastdiffError, match=r"cannot be written \(.+\): choose another directory with --out$"
    ):
        run(recipes.build(RECIPE), tmp_path / out)


def test_a_training_that_needs_too_much_memory_names_its_settings(tmp_path, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr("fastdiff.runs.stage.load_networks", too_large)
    line = (
        r"^out of memory \(.*9 GiB\): stage teacher: train.batch = 16 in 1 part; double train.gradient_accum"
    )
    with pytest.raises(FastdiffError, match=line):
        run(recipes.build(RECIPE), tmp_path / "run")
    assert not list((tmp_path / "run").glob("crash-*"))
