"""Files of data: identities of values, and where the cache is."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import (
    atomic_write,
    cache_folder,
    check_writable,
    expanded,
    identity,
    make_directory,
    read_json,
    write_json,
)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path))
    assert cache_folder("reference") == tmp_path / "reference"
    monkeypatch.delenv("FASTDIFF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder("reference")) == "/somewhere/fastdiff/reference"


def test_without_a_home_the_cache_is_asked_for(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "FASTDIFF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)  # a user without an entry in passwd
    with pytest.raises(FastdiffError, match=r"^no home directory for the cache; set HOME, or FASTDIFF_CACHE"):
        cache_folder("reference")
    for path in ("~/data", "~nobody-here/data"):
        with pytest.raises(FastdiffError, match=f"^{path}: there is no such home directory; give the path"):
            expanded(path)


def test_identity_depends_on_every_value_and_not_on_order_or_number_type():
    name = identity(weights="ab", times=[3.5, 0.0], guidance=1.0, options={"eta": 0, "rho": 7})
    assert name == identity(options={"rho": 7.0, "eta": 0.0}, guidance=1, times=(3.5, 0), weights="ab")
    assert len(name) == 16 and int(name, 16) >= 0
    changes = [
        {"weights": "ac"},
        {"times": [3.5, 1e-9]},
        {"guidance": 1.5},
        {"options": {"eta": 1, "rho": 7}},
    ]
    same = {"weights": "ab", "times": [3.5, 0.0], "guidance": 1.0, "options": {"eta": 0, "rho": 7}}
    assert len({name, *(identity(**(same | change)) for change in changes)}) == 5


def test_a_failed_write_leaves_the_file_as_it_was_and_no_scratch(tmp_path):
    path = tmp_path / "kept.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic_write(path) as scratch:
        scratch.write_text("half")
        raise ZeroDivisionError
    assert read_json(path) == {"a": 1} and [entry.name for entry in tmp_path.iterdir()] == ["kept.json"]


def test_a_folder_that_cannot_be_made_is_one_line_with_its_option(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FastdiffError, match=r"^--out .*file/below: cannot be written \(Not a directory\)$"):
        make_directory(tmp_path / "file" / "below", "--out")
    with pytest.raises(FastdiffError, match=r"Not a directory\): choose another directory with --out$"):
        make_directory(tmp_path / "file" / "below")
    (tmp_path / "link").symlink_to("/nowhere/else")
    for name, reason in [("file", "File exists"), ("link", "File exists"), ("x" * 300, "File name too long")]:
        with pytest.raises(FastdiffError, match=rf"cannot be written \({reason}\)$"):
            make_directory(tmp_path / name, "--out")
    assert make_directory(tmp_path / "a" / "b").is_dir()


def test_a_place_that_takes_no_files_is_refused_before_the_work(tmp_path):
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(FastdiffError, match=r"file cannot be written \(Not a directory\); make it writable"):
        check_writable(tmp_path / "file")


@pytest.mark.parametrize(("path", "words"), [("x/" * 3000, "File name too long"), ("a\0b", "null byte")])
def test_what_cannot_be_a_path_is_refused(path, words):
    with pytest.raises(FastdiffError, match=f"cannot be a path .*{words}"):
        expanded(path)
