"""The loss curves on the page."""

import json

from fastdiff.evaluation.report.losses import POINTS, curves, losses


def log(folder, losses):
    folder.mkdir()
    lines = [json.dumps({"step": 10 * (i + 1), "loss": loss}) for i, loss in enumerate(losses)]
    (folder / "log.jsonl").write_text("\n".join(lines))


def test_curves_of_the_models_come_first_and_fall_to_the_right(tmp_path):
    log(tmp_path / "a", [4.0, 1.0])
    log(tmp_path / "b", [8.0, 2.0, 4.0])
    log(tmp_path / "c", [1.0])  # too short to draw
    found = curves(tmp_path, ["b", "nosuch"])
    assert [one["name"] for one in found] == ["b", "a"]
    assert found[1]["points"] == "0.0,1.0 100.0,39.0"
    assert found[0]["points"] == "0.0,1.0 50.0,39.0 100.0,20.0"  # logarithmic
    assert found[0]["text"] == "8.00 to 4.00 in 30 steps, logarithmic"


def test_long_logs_are_thinned_and_keep_their_end(tmp_path):
    log(tmp_path / "a", [1.0 + 0.001 * i for i in range(1000)])
    [found] = curves(tmp_path, [])
    assert found["points"].count(" ") <= POINTS and found["points"].endswith("100.0,1.0")
    assert not found["text"].endswith("logarithmic")


def test_lines_without_a_loss_are_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2}\n{"step": 3, "loss": NaN}\n[]\n{"step": 4, "lo')
    assert losses(path) == [(1, 2.0)]


def test_a_constant_loss_is_a_line(tmp_path):
    log(tmp_path / "a", [1.0, 1.0])
    assert curves(tmp_path, [])[0]["points"] == "0.0,1.0 100.0,1.0"
