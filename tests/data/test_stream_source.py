"""The source of a stream: rows that are refused by name, and shards that are damaged or empty."""

import shutil
from pathlib import Path

import pytest

from fastdiff.core.errors import FastdiffError
from tests.helpers.shards import ORIGIN, cut, digits, opened, pack, png, seen

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")


@pytest.mark.parametrize(
    ("sixth", "words"),
    [
        (
            {"png": b"hello", "cls": b"3"},
            r"shard 1 of 1, row 6 \(0-0006\.png of .*0\.tar\): not a readable image",
        ),
        (
            {"png": png(ORIGIN[0]), "cls": b"12"},
            r"row 6 \(.*\): label 12, expected 0 to 9 in 'cls' \(`classes: 10`\)",
        ),
        ({"png": png(ORIGIN[0])}, r"row 6 \(.*\): no label, expected 0 to 9"),
        ({"cls": b"3"}, r"row 6 \(.*0\.tar\): no image in this row; remove the row"),
        ({"png": png(ORIGIN[0]), "cls": b"cat"}, r"row 6: cannot be read \(invalid literal"),
    ],
)
def test_a_bad_row_is_named(tmp_path, sixth, words):
    good = [{"png": png(ORIGIN[i]), "cls": b"1"} for i in range(8)]
    pack(tmp_path / "tars" / "0.tar", good[:6] + [sixth] + good[6:])  # five tell what columns there are
    with pytest.raises(FastdiffError, match=words):
        opened(tmp_path / "tars", classes=10).read(0, 9, 0)


def test_a_shard_that_vanished_or_is_cut_short_is_named(tars, tmp_path):
    for damage, words in [(Path.unlink, "No such file"), (cut, "unexpected end of data")]:
        folder = shutil.copytree(tars, tmp_path / words)
        stream = opened(folder)
        seen(stream, 0, 24)
        damage(folder / "05.tar")
        with pytest.raises(
            FastdiffError, match=rf"shard 6 of 7, row \d+: cannot be read \(.*{words}.*repair the file"
        ):
            seen(stream, 24, 480)


def test_shards_without_a_row_do_not_hang(tmp_path):
    pack(tmp_path / "tars" / "0.tar", digits(0, 8))
    pack(tmp_path / "tars" / "1.tar", [])
    with pytest.raises(FastdiffError, match="no rows in shards 2; remove the empty files"):
        opened(tmp_path / "tars").read(0, 8, 0)
