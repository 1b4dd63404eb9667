"""What a path, a pattern or a hub id is, found out by looking."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.data.location import kind_of


@pytest.fixture
def folder(tmp_path):
    for file in (
        "tables/deep/a.parquet",
        "tars/0.tar",
        "mixed/0.tar",
        "mixed/a/b.PNG",
        "tars2/1.tar",
        "x.csv",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tables", "parquet"),
        ("tables/deep/a.parquet", "parquet"),
        ("**/*.parquet", "parquet"),
        ("tars", "webdataset"),
        ("tars*/*.tar", "webdataset"),
        ("mixed", "images"),
        ("nothing", "images"),
    ],
)
def test_what_lies_there_says_what_it_is(folder, name, kind):
    assert kind_of(str(folder / name)) == kind


def test_only_what_could_be_an_id_is_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [kind_of(name) for name in ("mnist", "user/data", "tars")] == ["hub", "hub", "webdataset"]
    for name in ("./data", "~/data", "a/b/c", "data.parquet", "user/0.tar", "some.png"):
        with pytest.raises(FastdiffError, match=f"^{name}: no such file or folder$"):
            kind_of(name)
    with pytest.raises(
        FastdiffError, match=r"^x\.csv: expected a folder of images, parquet files or tar shards"
    ):
        kind_of("x.csv")
