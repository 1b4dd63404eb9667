"""Data sets are what they say, errors name the culprit, and the order of examples survives any cut."""

import io

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import DATASETS, Dataset, batch_at, open_dataset, order
from fastdiff.data.toys import mixture

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def picture(width=6, height=6, seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(path, image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def table(path, pictures, labels, **features):
    columns = {"index": list(range(len(pictures))), "img": pictures, "label": labels}
    kinds = {
        "index": datasets.Value("int64"),
        "img": datasets.Image(),
        "label": datasets.Value("int64"),
    } | features
    datasets.Dataset.from_dict(columns, datasets.Features(kinds)).to_parquet(path)
    return str(path)


def same(a: torch.Tensor, image: Image.Image) -> bool:
    return torch.equal(a, torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


# Embedded sets


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = open_dataset("digits")
    assert (len(data), data.shape, data.classes, data.examples.dtype) == (1797, (1, 8, 8), 10, torch.uint8)
    x0, cond = data.get(torch.arange(len(data)))
    raw = torch.from_numpy(load_digits().images[:, None])
    assert x0.dtype == torch.float32 and x0.min() == -1 and x0.max() == 1
    assert (x0 - (raw / 16 * 2 - 1)).abs().max() <= 0.5 / 127.5 + 1e-6
    assert cond["label"].tolist() == load_digits().target.tolist()


@pytest.mark.parametrize("kind", ["mixture", "moons", "spiral", "checkerboard"])
def test_toys_are_deterministic_and_fill_the_square(kind):
    data, again, other = (open_dataset("toy", kind=kind, n=2000, seed=seed) for seed in (0, 0, 1))
    assert (
        data.shape == (2,)
        and data.examples.dtype == torch.float32
        and (data.labels, data.classes) == (None, 0)
    )
    assert torch.equal(data.examples, again.examples) and not torch.equal(data.examples, other.examples)
    assert 0.8 < data.examples.abs().max() < 1.2 and data.examples.abs().amax(0).min() > 0.5
    assert torch.equal(data.get(torch.tensor([3, 1]))[0], data.examples[[3, 1]])


def test_toy_mixture_has_the_stated_weights():
    means, stds, weights = mixture()
    points = open_dataset("toy", n=20_000).examples
    nearest = torch.cdist(points, means).argmin(1)
    assert torch.allclose(torch.bincount(nearest, minlength=8) / len(points), weights, atol=0.01)
    assert torch.allclose((points - means[nearest]).std(0), stds[:2], rtol=0.05)


def test_toy_checkerboard_leaves_half_the_squares_empty():
    column, row = ((open_dataset("toy", kind="checkerboard").examples + 1) * 2).floor().long().T
    assert torch.all((column + row) % 2 == 0) and len(set(zip(column.tolist(), row.tolist()))) == 8


# Folders


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
    with pytest.raises(FastdiffError, match="resolution must be at least 1"):
        open_dataset(str(tmp_path), resolution=0)


def test_images_of_one_size_need_not_be_square(tmp_path):
    save(tmp_path / "0.png", picture(7, 5))
    assert open_dataset(str(tmp_path)).shape == (3, 5, 7)


def test_mixed_sizes_name_both_files(tmp_path):
    save(tmp_path / "a.png", picture(6, 6))
    save(tmp_path / "b.png", picture(8, 5))
    with pytest.raises(FastdiffError, match=r"a\.png is 6 x 6, .*b\.png is 8 x 5; `resolution: 32`"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("damage", ["cut short", "not an image", "sixteen bits"])
def test_bad_image_is_named(tmp_path, damage):
    save(tmp_path / "a.png", picture(40, 40))
    bad = tmp_path / "bad.png"
    if damage == "sixteen bits":
        Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(bad)
    else:
        bad.write_bytes((tmp_path / "a.png").read_bytes()[:1000] if damage == "cut short" else b"hello")
    with pytest.raises(FastdiffError, match=r"bad\.png: (not a readable image|pixels of mode I)"):
        open_dataset(str(tmp_path))


# Parquet


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
        ({"limit": 0}, "limit must be at least 1"),
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


# Names


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "~/no/where", "gone.png", "gone/*.parquet", "a/b/c"]
)
def test_missing_path(name):
    with pytest.raises(FastdiffError, match="no such file or folder"):
        open_dataset(name)


def test_wrong_names_and_options(tmp_path, monkeypatch):
    with pytest.raises(FastdiffError, match="no images found"):
        open_dataset(str(tmp_path))
    save(tmp_path / "0.png", picture())
    with pytest.raises(FastdiffError, match="expected a folder"):
        open_dataset(str(tmp_path / "0.png"))
    with pytest.raises(FastdiffError, match="'limit'; its options: size, image, captions"):
        open_dataset("digits", limit=3)
    with pytest.raises(FastdiffError, match="'path'"):
        open_dataset("images")
    with pytest.raises(FastdiffError, match="mixture, moons"):
        open_dataset("toy", kind="moon")
    assert len(DATASETS["images"](str(tmp_path))) == len(open_dataset("images", path=str(tmp_path))) == 1
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    with pytest.raises(FastdiffError, match="'nobody/nothing': cannot be loaded"):
        open_dataset("nobody/nothing")


# Order and batches


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = order(50, seed=3, start=0, count=150).view(3, 50)
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
    assert not torch.equal(order(50, 4, 0, 50), epochs[0])


@pytest.mark.parametrize("size", [1, 7, 50, 120])
def test_order_does_not_depend_on_how_it_is_cut(size):
    whole = order(50, seed=3, start=0, count=240)
    assert torch.equal(torch.cat([order(50, 3, i, min(size, 240 - i)) for i in range(0, 240, size)]), whole)
    assert torch.equal(order(50, 3, 49, 2), whole[49:51])


def test_two_processes_see_the_batch_of_one():
    data = open_dataset("digits")
    one, *two = (batch_at(data, 1790, 12, 5, True, rank=r, world=w) for r, w in ((0, 1), (0, 2), (1, 2)))
    noise, uniform, shared = one.rng.normal((1, 8, 8)), one.rng.uniform(), one.shared.normal((3,))
    for rank, part in enumerate(two):
        assert torch.equal(part.x0, one.x0[rank::2])
        assert torch.equal(part.cond["label"], one.cond["label"][rank::2])
        assert torch.equal(part.rng.normal((1, 8, 8)), noise[rank::2])
        assert torch.equal(part.rng.uniform(), uniform[rank::2])
        assert torch.equal(part.shared.normal((3,)), shared)
    assert shared.shape == (1, 3) and not torch.equal(shared, batch_at(data, 1802, 12, 5).shared.normal((3,)))
    with pytest.raises(FastdiffError, match="multiple of 5"):
        batch_at(data, 0, 12, 5, world=5)


def test_the_streams_of_a_batch_differ():
    data = open_dataset("toy")
    batch = batch_at(data, 40, 1, 0)
    assert batch.cond is None and not torch.equal(batch.rng.normal((4,)), batch.shared.normal((4,)))


def test_flip_mirrors_half_of_the_images_and_always_the_same():
    data = open_dataset("digits")
    plain, flipped, again = (batch_at(data, 0, 400, 0, flip).x0 for flip in (False, True, True))
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped, again) and 150 < mirrored.sum() < 250
    assert torch.equal(flipped[~mirrored], plain[~mirrored])
    points = open_dataset("toy")
    assert torch.equal(batch_at(points, 0, 9, 0, flip=True).x0, batch_at(points, 0, 9, 0).x0)


def test_fingerprint_follows_examples_labels_and_shape():
    examples = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    changed = examples.clone()
    changed[1, 2, 1, 1] += 1
    sets = [
        Dataset("a", examples),
        Dataset("a", changed),
        Dataset("a", examples.view(2, 1, 3, 4)),
        Dataset("a", examples, torch.tensor([0, 1]), 2),
        Dataset("a", examples, torch.tensor([1, 0]), 2),
    ]
    assert len({data.fingerprint for data in sets}) == 5
    assert (
        Dataset("b", examples.clone()).fingerprint == sets[0].fingerprint and len(sets[0].fingerprint) == 16
    )
