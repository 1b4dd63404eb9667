"""Folders of images: their classes, splits and order, and the shards of a stream of them."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.data.image_folder import list_folder, stream_folder
from fastdiff.data.registry import open_dataset
from tests.helpers.images import picture, save
from tests.helpers.shards import ORIGIN, opened, png

pytestmark = pytest.mark.usefixtures("few_lanes_and_a_private_cache")


def same(a: torch.Tensor, image: Image.Image) -> bool:
    return torch.equal(a, torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


def test_folder_of_classes(tmp_path):
    pictures = {"cat/b.png": picture(seed=1), "ant/z.png": picture(seed=2), "cat/a.PNG": picture(seed=3)}
    for name, image in pictures.items():
        save(tmp_path / name, image)
    (tmp_path / "ant" / "._z.png").write_bytes(b"not an image")  # hidden, as some systems leave behind
    data = open_dataset(str(tmp_path))
    assert data.labels.tolist() == [0, 1, 1] and data.classes == 2 and data.shape == (3, 6, 6)
    assert all(
        same(x, pictures[name]) for x, name in zip(data.examples, ("ant/z.png", "cat/a.PNG", "cat/b.png"))
    )
    assert (
        len(open_dataset(str(tmp_path), limit=2)) == 2 and open_dataset(str(tmp_path), limit=1).classes == 2
    )


def test_folder_without_classes_and_folder_of_splits(tmp_path):
    save(tmp_path / "flat" / "top.png", picture())
    save(tmp_path / "flat" / "deep" / "er" / "low.png", picture())
    assert (len(open_dataset(str(tmp_path / "flat"))), open_dataset(str(tmp_path / "flat")).labels) == (
        2,
        None,
    )
    for split, kinds in {"train": "ab", "test": "b"}.items():
        for kind in kinds:
            save(tmp_path / "cut" / split / kind / "0.png", picture())
    assert [len(open_dataset(str(tmp_path / "cut"), split=split)) for split in ("train", "test")] == [2, 1]
    with pytest.raises(FastdiffError, match="'val'"):
        open_dataset(str(tmp_path / "cut"), split="val")


def test_a_folder_of_images_is_mixed(tmp_path):
    for i in range(90):
        (tmp_path / f"kind{i // 30}").mkdir(exist_ok=True)
        (tmp_path / f"kind{i // 30}" / f"{i:02d}.png").write_bytes(png(ORIGIN[i]))
    stream = opened(tmp_path, classes=0, reference=20)
    rows = stream.read(0, 88, 0)
    assert (stream.classes, stream.lanes) == (3, 4) and stream.reference.labels.unique().tolist() == [0, 1, 2]
    assert (
        len({image.numpy().tobytes() for image in rows.x0}) > 80
    )  # blocks at an epoch's end mix two of them
    in_memory = open_dataset(str(tmp_path), colour="grey")
    known = {
        image.numpy().tobytes(): int(label) for image, label in zip(in_memory.examples, in_memory.labels)
    }
    assert [known[image.numpy().tobytes()] for image in rows.x0] == rows.labels.tolist()


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")


def test_a_folder_is_listed_by_the_suffixes_of_images(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/1.png", "a/3.webp", "a/notes.txt", "a/.hidden.png")
    root, files, names = list_folder(str(tmp_path), "train")
    assert (root, names) == (tmp_path, ["a", "b"])
    assert files == [Path("a/3.webp"), Path("b/1.png"), Path("b/2.JPG")]
    touch(tmp_path, "top.png")  # at another depth: the folders are no classes
    assert list_folder(str(tmp_path), "train")[2] == []
    touch(tmp_path / "words", "a.txt")
    with pytest.raises(FastdiffError, match=r"words: no images found \(.apng, .*; it has .txt"):
        list_folder(str(tmp_path / "words"), "train")


def test_a_stream_has_every_image_once_and_a_shard_for_each_lane(tmp_path):
    touch(tmp_path, *(f"{kind}/{i}.png" for kind in "ab" for i in range(10)))
    table = stream_folder(str(tmp_path), "train", lanes=4)
    rows = list(table)
    assert (table.num_shards, table.features["label"].names) == (4, ["a", "b"])
    assert sorted(row["image"]["path"] for row in rows) == sorted(map(str, tmp_path.glob("*/*.png")))
    assert all(Path(row["image"]["path"]).parent.name == "ab"[row["label"]] for row in rows)
    assert stream_folder(str(tmp_path), "train", lanes=99).num_shards == 20


# ---- what else lies in a folder


@pytest.mark.parametrize(
    "other",
    [".cache", ".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "empty"],
)
def test_folders_of_the_system_and_empty_ones_are_no_classes_and_no_splits(tmp_path, other):
    touch(tmp_path, "train/0.png", "train/1.png", "test/2.png")
    inside = () if other == "empty" else ("0.png", "deeper/1.png")
    (tmp_path / other).mkdir()
    touch(tmp_path / other, *inside)
    root, files, names = list_folder(str(tmp_path), "train")
    assert (root.name, len(files), names) == ("train", 2, [])
    touch(tmp_path / "train", "cat/0.png", "dog/0.png", f"cat/{other}/0.png")
    (tmp_path / "train/0.png").unlink()
    (tmp_path / "train/1.png").unlink()
    expected = ["cat", "dog"] if other != "empty" else []  # `cat/empty/0.png` has an image: it is deeper
    assert list_folder(str(tmp_path), "train")[2] == expected


def test_hidden_images_and_links_that_lead_back_are_left_out(tmp_path):
    touch(tmp_path, "ant/0.png", "ant/._0.png", "cat/1.png", "cat/_MG_1.jpg", "elsewhere/dog/2.png")
    root = tmp_path / "linked"
    root.mkdir()
    for name in ("ant", "cat"):
        (root / name).symlink_to(tmp_path / name)
    (root / "dog").symlink_to(tmp_path / "elsewhere/dog")
    (tmp_path / "cat" / "back").symlink_to(root)
    _, files, names = list_folder(str(root), "train")
    assert (list(map(str, files)), names) == (
        ["ant/0.png", "cat/1.png", "cat/_MG_1.jpg", "dog/2.png"],
        ["ant", "cat", "dog"],
    )


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/0.png", "dog/0.png")

    def scandir(path, real=os.scandir):
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(FastdiffError, match=r"dog: cannot be read \(Permission denied\)"):
        list_folder(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("folders", "split", "found"),
    [
        (("Train", "Test"), "train", "Train"),
        (("training", "dev"), "train", "training"),
        (("training", "dev"), "validation", "dev"),
        (("train", "val"), "valid", "val"),
        (("TRAIN", "holdout"), "test", "holdout"),
        (("train", "unlabeled"), "unlabeled", "unlabeled"),
    ],
)
def test_splits_have_many_names(tmp_path, folders, split, found):
    touch(tmp_path, *(f"{folder}/a/0.png" for folder in folders))
    root, files, names = list_folder(str(tmp_path), split)
    assert (root.name, files, names) == (found, [Path("a/0.png")], ["a"])


@pytest.mark.parametrize(
    ("files", "split", "words"),
    [
        (("test/0.png",), "train", "split = 'train': expected one of its folders test"),
        (("val/0.png", "dev/0.png"), "validation", "expected one of its folders dev, val"),
        (("train/0.png", "car/0.png"), "train", "the folder train is named like a split, and car is not"),
        (("a/0.png", "b/0.png"), "test", "no subfolder 'test' among its splits"),
        (("all/train/0.png", "all/test/0.png"), "train", "splits lie deeper, in folders test and train"),
        (("cat/Train/0.png", "dog/val/0.png"), "train", "splits lie deeper, in folders Train and val"),
    ],
)
def test_splits_that_are_unclear_are_refused(tmp_path, files, split, words):
    touch(tmp_path, *files)
    with pytest.raises(FastdiffError, match=words):
        list_folder(str(tmp_path), split)
    root, listed, _ = list_folder(str(tmp_path), None)  # no folder is a split
    assert (root, len(listed)) == (tmp_path, len(files))


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path):
    touch(tmp_path, *(f"{number}/0.png" for number in range(12)))
    assert list_folder(str(tmp_path), "train")[2] == [str(number) for number in range(12)]
    touch(tmp_path, "01/0.png")  # no number of its own
    assert list_folder(str(tmp_path), "train")[2][:3] == ["0", "01", "1"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    save(tmp_path / "cat.png" / "0.png", picture())
    save(tmp_path / "dog[1].png" / "0.jfif.png", picture())
    data = open_dataset(str(tmp_path))
    assert (data.names, data.labels.tolist()) == (("cat.png", "dog[1].png"), [0, 1])


@pytest.mark.parametrize("suffix", [".JPG", ".jfif", ".jpe", ".pgm", ".pbm", ".apng", ".dib", ".TIF"])
def test_odd_suffixes_are_read(tmp_path, suffix):
    touch(tmp_path, f"a{suffix}")
    assert len(list_folder(str(tmp_path), "train")[1]) == 1
