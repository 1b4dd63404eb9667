"""Images in folders and tables: sizes, colours, labels, and errors that name the culprit."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import open_dataset
from tests.helpers.images import picture, save, table

pytestmark = pytest.mark.usefixtures("private_cache")


def same(a: torch.Tensor, image: Image.Image) -> bool:
    return torch.equal(a, torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


# ---- folders


def test_grey_and_colour(tmp_path):
    save(tmp_path / "0.png", Image.new("RGB", (4, 4), (255, 0, 0)))
    assert open_dataset(str(tmp_path)).examples[0, :, 0, 0].tolist() == [255, 0, 0]
    grey = open_dataset(str(tmp_path), colour="grey")
    assert grey.shape == (1, 4, 4) and grey.examples.unique().tolist() == [76]  # ITU-R 601 luma of red
    with pytest.raises(FastdiffError, match="rgb or grey"):
        open_dataset(str(tmp_path), colour="gray")


def test_resolution_resizes_the_shorter_side_and_keeps_the_middle(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    save(tmp_path / "wide.png", Image.fromarray(wide))
    save(tmp_path / "tall.png", Image.fromarray(wide.transpose(1, 0, 2)))
    assert (open_dataset(str(tmp_path), resolution=8).examples == 200).all()
    assert open_dataset(str(tmp_path), resolution=5).shape == (3, 5, 5)
    stripes = np.zeros((8, 8), np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "fine" / "stripes.png", Image.fromarray(stripes))
    shrunk = open_dataset(str(tmp_path / "fine"), resolution=2).examples.float()
    assert (shrunk - 127.5).abs().max() < 30  # antialiased: nearest neighbours would give 0 or 255
    with pytest.raises(FastdiffError, match="resolution = 0: expected at least 1"):
        open_dataset(str(tmp_path), resolution=0)


def test_images_of_one_size_need_not_be_square(tmp_path):
    save(tmp_path / "0.png", picture(7, 5))
    assert open_dataset(str(tmp_path)).shape == (3, 5, 7)


def test_mixed_sizes_name_both_files(tmp_path):
    save(tmp_path / "a.png", picture(6, 6))
    save(tmp_path / "b.png", picture(8, 5))
    with pytest.raises(FastdiffError, match=r"a\.png is 6 x 6, .*b\.png is 8 x 5; `resolution: 32`"):
        open_dataset(str(tmp_path))


# ---- parquet


def test_parquet_round_trip(tmp_path):
    pictures, labels = [picture(seed=i) for i in range(5)], [2, 0, 1, 1, 2]
    kind = datasets.ClassLabel(names=["a", "b", "c", "d"])
    path = table(tmp_path / "some.parquet", pictures, labels, label=kind)
    data = open_dataset(path)
    assert data.labels.tolist() == labels and data.classes == 4
    assert all(same(x, image) for x, image in zip(data.examples, pictures))
    few = open_dataset(path, limit=2, resolution=3, colour="grey", column="img", label_column="index")
    assert few.shape == (1, 3, 3) and few.labels.tolist() == [0, 1] and few.classes == 5


def test_parquet_folder_and_pattern(tmp_path):
    table(tmp_path / "train-0.parquet", [picture()] * 3, [0, 1, 1])
    table(tmp_path / "test-0.parquet", [picture()] * 2, [0, 1])
    sizes = [len(open_dataset(str(tmp_path), split=split)) for split in ("train", "test")]
    assert sizes == [3, 2] and len(open_dataset(str(tmp_path / "t*.parquet"))) == 5


@pytest.mark.parametrize(
    ("labels", "kind", "expected", "classes"),
    [
        ([1, 3, 0], "int64", [1, 3, 0], 4),
        (["b", "a", "b"], "string", [1, 0, 1], 2),
        ([-1, -1, -1], "int64", None, 0),
    ],
)
def test_parquet_labels(tmp_path, labels, kind, expected, classes):
    data = open_dataset(table(tmp_path / "t.parquet", [picture()] * 3, labels, label=datasets.Value(kind)))
    assert (data.labels if expected is None else data.labels.tolist(), data.classes) == (expected, classes)


def test_parquet_errors(tmp_path):
    good = table(tmp_path / "good.parquet", [picture()], [0])
    for options, words in [
        ({"column": "image"}, "no column 'image'; set `column` to one of index, img, label"),
        ({"column": "index"}, "column 'index' does not hold images"),
        ({"label_column": "class"}, "no column 'class'"),
        ({"split": "valid"}, "valid"),
        ({"size": 3}, "'size'; its options: path, split, resolution"),
        ({"limit": 0}, "limit = 0: expected at least 1"),
    ]:
        with pytest.raises(FastdiffError, match=words):
            open_dataset(good, **options)
    with pytest.raises(FastdiffError, match="without a label"):
        open_dataset(table(tmp_path / "none.parquet", [picture()] * 2, [0, None]))
    with pytest.raises(FastdiffError, match=r"row 0 of .* 6 x 6, row 1 of .* 5 x 6"):
        open_dataset(table(tmp_path / "mixed.parquet", [picture(), picture(5)], [0, 0]))
    encoded = io.BytesIO()
    picture().save(encoded, "png")
    broken = [{"bytes": encoded.getvalue(), "path": None}, {"bytes": b"hello", "path": None}]
    with pytest.raises(FastdiffError, match=r"row 1 of .*broken\.parquet: not a readable image"):
        open_dataset(table(tmp_path / "broken.parquet", broken, [0, 0]))
    (tmp_path / "torn.parquet").write_bytes(b"hello")
    with pytest.raises(FastdiffError, match=r"torn\.parquet': cannot be loaded: .+"):
        open_dataset(str(tmp_path / "torn.parquet"))
