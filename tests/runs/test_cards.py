"""Cards of a run's models: the recipe without this machine's paths, and cards written again."""

import torch

from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.io.load import record_times
from fastdiff.runs.cards import card_context, published, renew
from tests.helpers.card_scripts import block
from tests.helpers.tiny_students import sampled, student


def test_times_recorded_later_come_into_the_card(tmp_path):

    export(student(Cosine(), "v", sampled("consistency")), tmp_path, {})
    assert "grids" not in block(tmp_path)
    record_times(tmp_path, [1.0, 1 / 3])
    renew(tmp_path)
    assert "grids = {1:" in block(tmp_path)


def test_of_paths_only_their_last_part_is_published():
    assert published(
        {
            "teacher": "/home/someone/secret/teacher",
            "init": ["~/models/first", "runs/a/teacher"],
            "lpips": "inception:/data/weights.pth",
            "steps": 4,
            "url": "https://example.org/x",
        }
    ) == {
        "teacher": "teacher",
        "init": ["first", "runs/a/teacher"],
        "lpips": "inception:weights.pth",
        "steps": 4,
        "url": "https://example.org/x",
    }


def test_outside_of_a_run_a_card_has_a_name_alone(tmp_path):
    assert card_context(tmp_path / "model") == {"name": "model"}


def test_a_card_that_has_not_changed_is_not_written_again(tmp_path):
    torch.manual_seed(0)
    export(student(Cosine(), "v", sampled()), tmp_path / "model", {})
    renew(tmp_path / "model")
    card = tmp_path / "model/README.md"
    before = card.stat().st_mtime_ns
    renew(tmp_path / "model")
    assert card.stat().st_mtime_ns == before
    text = card.read_text()
    card.unlink()
    renew(tmp_path / "model")
    assert card.read_text() == text
