"""The export command."""

import json

import torch

from fastdiff.io.load import load


def test_export(images, fastdiff, refused, tmp_path):
    assert fastdiff("export", images, "--out", tmp_path / "a/b")[0] == 0
    ours, theirs = load(images), load(tmp_path / "a/b")
    assert ours.sampling == theirs.sampling and all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert json.loads((tmp_path / "a/b/fastdiff.json").read_text())["method"] == "progressive"
    assert "exists already; name a new folder" in refused("export", images, "--out", tmp_path / "a/b")
    (tmp_path / "file.txt").write_text("")
    assert "cannot be written" in refused("export", images, "--out", tmp_path / "file.txt/x")
