"""The search command."""

import json
import shutil


def test_search_stores_what_it_finds(points, fastdiff, tmp_path):
    student = tmp_path / "run" / "student"
    shutil.copytree(points / "consistency", student)
    code, out, err = fastdiff("search", student, "--steps", 2, "--data", "toy", "--n", 64, "--rounds", 1)
    assert code == 0 and f"stored with {student}" in out
    (times,) = json.loads((student / "fastdiff.json").read_text())["sampling"]["times"]
    assert len(times) == 2 and times[0] > times[1] > 0
    assert len(err.splitlines()) >= 1
