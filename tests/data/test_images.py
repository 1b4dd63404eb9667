"""Images in folders and tables: sizes, colours, labels, and errors that name the culprit."""

import io
import os

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core import memory
from fastdiff.core.errors import FastdiffError
from fastdiff.data.images import read_images
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


# ---- columns and rows of any shape


def encoded_pictures(count=3):
    files = []
    for i in range(count):
        file = io.BytesIO()
        picture(seed=i).save(file, "png")
        files.append({"bytes": file.getvalue(), "path": None})
    return files


def written(path, columns, **kinds):
    datasets.Dataset.from_dict(columns, datasets.Features(kinds)).to_parquet(path)
    return str(path)


IMAGE = datasets.Image()


@pytest.mark.parametrize(
    ("names", "options", "found"),
    [
        (("mask", "image"), {}, "image"),
        (("jpg", "depth"), {}, "jpg"),
        (("mask", "photo"), {"image_column": "mask"}, "photo"),
        (("image", "mask"), {"column": "mask"}, "mask"),
    ],
)
def test_of_several_image_columns_the_usual_or_chosen_one_is_read(tmp_path, names, options, found):
    pictures = encoded_pictures(2)
    columns = {names[0]: pictures[:1], names[1]: pictures[1:]}
    path = written(tmp_path / "a.parquet", columns, **dict.fromkeys(names, IMAGE))
    assert same(open_dataset(path, **options).examples[0], picture(seed=names.index(found)))


def test_images_that_are_unclear_missing_or_no_images_are_refused(tmp_path):
    one = encoded_pictures(1)
    for columns, kinds, words in [
        (
            {"a": one, "b": one},
            {"a": IMAGE, "b": IMAGE},
            "several columns of images; set `column` to one of a, b",
        ),
        ({"a": [one]}, {"a": datasets.List(IMAGE)}, "no column of images; set `column` to one of a"),
        (
            {"a": [*one, None]},
            {"a": IMAGE},
            "row 1 of .*: no image in this row; remove the row, or read fewer",
        ),
    ]:
        path = written(tmp_path / "a.parquet", columns, **kinds)
        with pytest.raises(FastdiffError, match=words):
            open_dataset(path)
        with pytest.raises(FastdiffError, match=words.partition(" of .*")[0]):
            open_dataset("stream", path=path, resolution=4).reference  # noqa: B018
    assert len(open_dataset(path, limit=1)) == 1


def test_bytes_and_paths_without_a_type_are_images(tmp_path):
    kind = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    path = written(tmp_path / "a.parquet", {"photo": encoded_pictures()}, photo=kind)
    assert same(open_dataset(path).examples[2], picture(seed=2))
    assert len(open_dataset("stream", path=path, resolution=4).reference) == 3
    plain = [one["bytes"] for one in encoded_pictures()]
    path = written(tmp_path / "b.parquet", {"photo": plain}, photo=datasets.Value("binary"))
    assert same(open_dataset(path, column="photo").examples[1], picture(seed=1))


@pytest.mark.parametrize("name", ["a[1].parquet", "A.PARQUET", "q?*/a.parquet", "q[x]/", "b.c/d.parquet"])
def test_names_are_no_patterns(tmp_path, monkeypatch, name):
    path = tmp_path / "in[side]" / (f"{name}a.parquet" if name.endswith("/") else name)
    path.parent.mkdir(parents=True)
    table(path, [picture()], [0])
    for place in (tmp_path, tmp_path / "in[side]"):
        monkeypatch.chdir(place)
        here = (tmp_path / "in[side]" / name).relative_to(place)
        assert len(open_dataset(str(here))) == 1
        assert len(open_dataset("stream", path=str(here), resolution=4).reference) == 1
    monkeypatch.chdir(path.parent)
    assert len(open_dataset(f"*.{path.suffix[1:]}")) == 1  # a pattern, where the folder has brackets


def test_a_changed_table_is_read_again_though_its_time_is_kept(tmp_path):
    path = tmp_path / "a.parquet"
    for label in (3, 4):
        table(path, [picture()], [label])
        os.utime(path, ns=(10**18, 10**18))
        assert open_dataset(str(path)).labels.tolist() == [label]


def test_classes_in_captions_are_their_names(tmp_path):
    kind = datasets.ClassLabel(names=["ant", "bee"])
    path = table(tmp_path / "a.parquet", [picture()] * 2, [1, 0], label=kind)
    assert open_dataset(path, captions="{label}, {class}, {index}").captions == ("bee, bee, 0", "ant, ant, 1")
    columns = {"image": encoded_pictures(1), "label": [0], "class": ["own"]}
    kinds = {"image": IMAGE, "label": datasets.Value("int64"), "class": datasets.Value("string")}
    assert open_dataset(written(tmp_path / "b.parquet", columns, **kinds), captions="{class}").captions == (
        "own",
    )


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ([[0, 1], [1]], datasets.List(datasets.Value("int64"))),
        ([0.5, 1.0], datasets.Value("float64")),
        ([0, None], datasets.Value("int64")),
        ([0, -1], datasets.ClassLabel(names=["a"])),
    ],
)
def test_images_are_read_without_labels_if_wanted(tmp_path, label, kind):
    path = table(tmp_path / "a.parquet", [picture()] * 2, label, label=kind)
    data = open_dataset(path, label_column=False)
    stream = open_dataset("stream", path=path, resolution=4, label_column=False)
    assert (data.labels, data.classes, stream.reference.labels, stream.classes) == (None, 0, None, 0)


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", picture())
    with pytest.raises(
        FastdiffError, match=r"^1 images x 3 x 10,000,000 x 10,000,000 bytes = .*; set `resol"
    ):
        open_dataset(str(tmp_path), resolution=10**7)
    stream = open_dataset("stream", path=str(tmp_path), resolution=10**7)
    with pytest.raises(FastdiffError, match="set a smaller `resolution` or `reference`"):
        stream.reference  # noqa: B018
    monkeypatch.setattr(memory, "usable_memory", lambda: 100)
    with pytest.raises(FastdiffError, match="read them as a stream"):
        open_dataset(str(tmp_path))


def test_only_visible_images_are_read_for_a_model(tmp_path):
    save(tmp_path / "a.png", picture())
    save(tmp_path / "folder.png" / "b.png", picture())
    (tmp_path / "._a.png").write_bytes(b"hello")
    assert len(read_images(tmp_path, (3, 6, 6))) == 1
