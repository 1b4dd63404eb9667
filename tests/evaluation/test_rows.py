"""The benchmark file survives kills and points at what is broken."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.rows import RowStore, append_row, read_rows
from tests.helpers.rows import row


def test_rows_come_back_in_the_order_of_their_last_lines_and_the_later_of_a_key_wins(tmp_path):
    path = tmp_path / "bench.jsonl"
    assert read_rows(path) == []
    for one in ({"key": "a", "fid": 3.0}, {"key": "b", "versions": {"torch": "2"}}, {"key": "a", "fid": 2.5}):
        append_row(path, one)
    assert read_rows(path) == [{"key": "b", "versions": {"torch": "2"}}, {"key": "a", "fid": 2.5}]
    assert len(path.read_text().splitlines()) == 3  # append-only


CUT = [b'{"key": "b", "fi', b'{"key": "b"}', b"\xff"]


NO_ROW = [b'{"key": "b", "fi\n', b"[1, 2]\n", b'{"fid": 1.0}\n', b'{"key": 3}\n', b"\n"]


@pytest.mark.parametrize("last", CUT + NO_ROW)
@pytest.mark.parametrize("before", [b"", b'{"key": "a"}\n'])
def test_a_broken_last_line_is_ignored_then_kept_aside(tmp_path, before, last):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(before + last)
    rows = [{"key": "a"}] if before else []
    assert read_rows(path) == rows
    assert (
        path.read_bytes() == before + last and not (tmp_path / "bench.jsonl.broken").exists()
    )  # a reader changes nothing
    append_row(path, {"key": "c"})
    assert read_rows(path) == [*rows, {"key": "c"}]
    assert path.read_bytes() == before + b'{"key": "c"}\n'
    assert (tmp_path / "bench.jsonl.broken").read_bytes() == last.removesuffix(b"\n") + b"\n"


def test_what_was_kept_aside_before_stays_and_whole_files_lose_nothing(tmp_path):
    path = tmp_path / "bench.jsonl"
    for cut in (b"one", b"two"):
        append_row(path, {"key": "a"})
        with open(path, "ab") as file:
            file.write(cut)
    append_row(path, {"key": "b"})
    append_row(path, {"key": "c"})
    assert (tmp_path / "bench.jsonl.broken").read_bytes() == b"one\ntwo\n"
    assert [row["key"] for row in read_rows(path)] == ["a", "b", "c"]


@pytest.mark.parametrize("broken", ['{"key": "b', "[1, 2]", "3", '{"fid": 1.0}', "\udcff"])
@pytest.mark.parametrize("last", [b'{"key": "c"}\n', b'{"key"'])
def test_a_broken_line_before_the_last_is_named(tmp_path, broken, last):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + broken.encode(errors="surrogateescape") + b"\n" + last)
    with pytest.raises(FastdiffError, match=r"bench\.jsonl, line 2"):
        read_rows(path)


def test_a_row_that_is_no_json_leaves_the_file_alone(tmp_path):
    path = tmp_path / "bench.jsonl"
    append_row(path, {"key": "a"})
    with pytest.raises(TypeError):
        append_row(path, {"key": "b", "fid": object()})
    assert read_rows(path) == [{"key": "a"}]


def test_a_store_appends_what_is_new_or_no_longer_current_and_nothing_else(tmp_path):
    path = tmp_path / "bench.jsonl"
    old, new = (row(fd_a=1.0) | {"key": key, "weights": key, "metrics": ["fd"]} for key in "ab")
    store = RowStore(path)
    assert store.missing("a", {"fd"}) and store.get("a") is None and not store.is_current("a")
    store.update(old)
    assert store.get("a") == old and store.is_current("a")
    assert not store.missing("a", {"fd"}) and store.missing("a", {"fd", "kd"})
    store.update(old)
    RowStore(path).update(old)
    assert read_rows(path) == [old] and len(path.read_text().splitlines()) == 1
    RowStore(path).update(new)  # of other weights
    store = RowStore(path)
    assert [store.is_current(key) for key in "ab"] == [False, True]
    RowStore(path, writes=False).update(old)
    assert [one["key"] for one in read_rows(path)] == ["a", "b"]
    store.update(old)  # the former weights return
    assert [one["key"] for one in read_rows(path)] == ["b", "a"]
