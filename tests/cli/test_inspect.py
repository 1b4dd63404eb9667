"""The report command."""

import json


def test_report(finished, fastdiff, refused, tmp_path):
    code, out, err = fastdiff("report", finished[1])
    assert (code, err) == (0, "") and "report.html" in out and "teacher" in out
    code, out, err = fastdiff("report", finished[1], "--json")
    assert code == 0 and {group["model"] for group in json.loads(out)} == {"teacher"}
    (tmp_path / "bench.jsonl").write_text("{}\n{}\n")
    assert "line 1" in refused("report", tmp_path)
    assert "no rows in" in refused("report", tmp_path / "nosuch")
    assert "no rows in" in refused("report", finished[0])
    (tmp_path / "bench.jsonl").write_text((finished[1] / "bench.jsonl").read_text())
    (tmp_path / "report.md").mkdir()
    assert "the report cannot be written" in refused("report", tmp_path)
