"""The provenance of a row: its machine, its versions, its commit and the cost of its model."""

import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import torch
from accelerate import Accelerator

from fastdiff.evaluation.provenance import commit, device_name, provenance
from tests.helpers.paths import HOUSE


def test_a_row_says_where_it_comes_from():
    notes = {"method": "ect", "params": 7, "ema": 0.9, "cost": {"images": 64, "seconds": 1.5}}
    found = provenance(notes, Accelerator(cpu=True))
    assert found.items() >= {"method": "ect", "params": 7, "train_images": 64, "teacher_nfe": None}.items()
    assert found["versions"]["torch"] == version("torch") and found["processes"] == 1
    age = datetime.now(UTC) - datetime.fromisoformat(found["time"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    bare = provenance({}, Accelerator(cpu=True))
    assert set(bare) == set(found) and bare["method"] is bare["train_seconds"] is None


def test_a_processor_is_named_with_its_threads():
    assert device_name(torch.device("cpu")).endswith(f" CPU, {torch.get_num_threads()} threads")


def test_the_commit_is_that_of_the_source_tree():
    def git(*words):
        return subprocess.run(["git", "-C", HOUSE, *words], capture_output=True, text=True)

    head = git("rev-parse", "--short=10", "HEAD")
    if head.returncode or git("ls-files", "--error-unmatch", "evaluation/provenance.py").returncode:
        assert commit() is None
    else:
        changed = bool(git("status", "--porcelain", "--", ".").stdout.strip())
        assert commit() == head.stdout.strip() + "+" * changed
