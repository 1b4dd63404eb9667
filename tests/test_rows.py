"""The benchmark file survives kills, keeps the last word, and points at what is broken."""

import pytest

from fastdiff.errors import FastdiffError
from fastdiff.rows import append_row, identity, read_rows


def test_identity_depends_on_every_value_and_not_on_order_or_number_type():
    name = identity(weights="ab", times=[3.5, 0.0], guidance=1.0, options={"eta": 0, "rho": 7})
    assert name == identity(options={"rho": 7.0, "eta": 0.0}, guidance=1, times=(3.5, 0), weights="ab")
    assert len(name) == 16 and int(name, 16) >= 0
    changes = [{"weights": "ac"}, {"times": [3.5, 1e-9]}, {"guidance": 1.5}, {"options": {"eta": 1, "rho": 7}}]
    same = {"weights": "ab", "times": [3.5, 0.0], "guidance": 1.0, "options": {"eta": 0, "rho": 7}}
    assert len({name, *(identity(**(same | change)) for change in changes)}) == 5


def test_rows_come_back_in_order_and_the_later_of_a_key_wins(tmp_path):
    path = tmp_path / "bench.jsonl"
    assert read_rows(path) == []
    for row in ({"key": "a", "fid": 3.0}, {"key": "b", "versions": {"torch": "2"}}, {"key": "a", "fid": 2.5}):
        append_row(path, row)
    assert read_rows(path) == [{"key": "a", "fid": 2.5}, {"key": "b", "versions": {"torch": "2"}}]
    assert len(path.read_text().splitlines()) == 3  # append-only


@pytest.mark.parametrize("fragment", [b'{"key": "b", "fi', b'{"key": "b"}'])
def test_a_kill_costs_only_the_line_it_cut(tmp_path, fragment):
    path = tmp_path / "bench.jsonl"
    append_row(path, {"key": "a"})
    with open(path, "ab") as file:
        file.write(fragment)
    assert read_rows(path) == [{"key": "a"}]
    append_row(path, {"key": "c"})
    assert path.read_text() == '{"key": "a"}\n{"key": "c"}\n'


def test_a_kill_in_the_first_line_leaves_no_rows(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"key"')
    assert read_rows(path) == []
    append_row(path, {"key": "a"})
    assert read_rows(path) == [{"key": "a"}]


@pytest.mark.parametrize("broken", ['{"key": "b', "[1, 2]", "3", '{"fid": 1.0}', "\udcff"])
def test_a_broken_line_is_named(tmp_path, broken):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + broken.encode(errors="surrogateescape") + b'\n{"key": "c"}\n')
    with pytest.raises(FastdiffError, match=r"bench\.jsonl, line 2"):
        read_rows(path)


def test_a_row_that_is_no_json_leaves_the_file_alone(tmp_path):
    path = tmp_path / "bench.jsonl"
    append_row(path, {"key": "a"})
    with pytest.raises(TypeError):
        append_row(path, {"key": "b", "fid": object()})
    assert read_rows(path) == [{"key": "a"}]
