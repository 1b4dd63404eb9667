"""Tensors made part by part: damaged parts are made again."""

import pytest
import torch
from safetensors import SafetensorError

from fastdiff.core.accelerator import make_accelerator
from fastdiff.core.errors import FastdiffError
from fastdiff.data import shards as parts


def test_damaged_parts_are_made_again(tmp_path, capsys):
    columns = {"x0": torch.randn(8, 2), "eps": torch.randn(8, 2)}
    for number in range(4):
        parts.store(tmp_path / f"{number}.safetensors", columns, {"nfe": 8, "sum": parts.checksum(columns)})
    flipped = bytearray((tmp_path / "1.safetensors").read_bytes())
    flipped[-1] ^= 1
    (tmp_path / "1.safetensors").write_bytes(flipped)
    (tmp_path / "2.safetensors").write_bytes(flipped[:-3])
    parts.forget_damaged(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.safetensors", "3.safetensors"]
    assert capsys.readouterr().out.count("is damaged and will be computed again") == 2


@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), SafetensorError("Read-only file system (os error 30)")]
)
def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, error):
    def refusing(*_):
        raise error

    monkeypatch.setattr(parts, "save_file", refusing)
    line = r"cannot be written \(Read-only file system.*\); make room, or set FASTDIFF_CACHE"
    with pytest.raises(FastdiffError, match=line):
        parts.fill(tmp_path, 1, lambda number: {"a": torch.zeros(1)}, make_accelerator(), lambda number: None)
