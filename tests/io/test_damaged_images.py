"""Images that are none, and tables that would fetch something."""

import io
import json
import struct
import zlib

import datasets
import pytest
import yaml
from PIL import Image

from tests.helpers.damage import RECIPE

pytestmark = pytest.mark.usefixtures("little_memory")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "png")
    return file.getvalue()


def eps():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "eps")
    return file.getvalue()


HUGE = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(100)))
    + chunk(b"IEND", b"")
)


IMAGES = {
    "huge": HUGE,
    "cut": png()[:100],
    "text": b"a picture",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "nothing": b"",
    "a program of PostScript": eps(),
}


@pytest.mark.parametrize("name", list(IMAGES))
def test_images_that_are_none(name, model, refused, tmp_path):
    assert len(HUGE) < 500
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(IMAGES[name])
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": IMAGES[name], "path": None}]},
        features=datasets.Features({"image": datasets.Image(decode=False)}),
    )
    table.cast_column("image", datasets.Image()).to_parquet(tmp_path / "a.parquet")
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    out = ["--out", tmp_path / "out"]
    for words in (
        ["bench", model, "--data", folder, *out],
        ["bench", model, "--data", tmp_path / "a.parquet", *out],
        ["sample", model, "--init-image", folder / "a.png", *out],
        ["sample", model, "--init-image", folder, *out],
        ["sample", model, "--init-image", tmp_path / "good.png", "--mask", folder / "a.png", *out],
        ["evaluate", folder, "--data", "digits"],
    ):
        assert "not a readable image (" in refused(*words), words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["{tmp}/none.png", "http://127.0.0.1:9/a.png", None])
def test_a_table_fetches_nothing(path, model, refused, tmp_path):
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": None, "path": path and path.format(tmp=tmp_path)}]},
        features=datasets.Features(
            {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
        ),
    )
    table.to_parquet(tmp_path / "a.parquet")
    data = f"{{name: {tmp_path / 'a.parquet'}, column: image}}"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    assert "row 0 of" in (said := refused("run", recipe, f"data={data}", "--out", tmp_path / "out")), said


@pytest.mark.parametrize("name", list(IMAGES))
def test_sheets_of_a_run_that_are_none(name, refused, tmp_path):
    row = {
        "key": "k",
        "model": "m",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 1,
        "n": 8,
        "seed": 0,
        "fid": 1.0,
        "cell": "m-1",
    }
    (tmp_path / "samples").mkdir()
    (tmp_path / "bench.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "samples/m-1.png").write_bytes(IMAGES[name])
    assert "expected a PNG picture (" in refused("report", tmp_path)
