"""What examples are conditioned on: their own low resolution or grey, a column of a table."""

import datasets
import pytest
import torch
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.data.conditioning import Grey, Low
from fastdiff.data.dataset import batch_at
from fastdiff.data.registry import open_dataset
from fastdiff.data.toys import digits


def test_low_is_the_mean_of_what_lies_behind_a_pixel():
    data = digits(image=Low(4))
    blocks = data.examples.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert data.image.shape == (1797, 1, 4, 4) and (data.image.float() - blocks).abs().max() <= 0.5
    assert torch.equal(data.image, digits(size=4).examples)


def test_grey_keeps_grey_as_it_is():
    grey = torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8)
    assert (Grey()(grey.expand(-1, 3, -1, -1)).int() - grey.int()).abs().max() <= 1


def test_a_condition_is_mirrored_with_its_example():
    data = digits(image=Low(4))
    straight, mirrored = (batch_at(data, 0, 64, seed=5, flip=flip) for flip in (False, True))
    turned = (straight.x0 != mirrored.x0).flatten(1).any(1)
    assert 10 < turned.sum() < 54
    assert torch.equal(mirrored.cond["image"][turned], straight.cond["image"][turned].flip(-1))
    assert torch.equal(mirrored.cond["image"][~turned], straight.cond["image"][~turned])
    assert straight.cond["image"].min() >= -1 and straight.cond["image"].max() <= 1


def test_a_column_of_a_table_is_the_condition_and_others_are_captions(tmp_path):
    masks = [Image.new("L", (8, 8), 40 * i) for i in range(4)]
    photos = [Image.new("RGB", (8, 8), (i, 2 * i, 200)) for i in range(4)]
    kinds = datasets.Features(
        {"mask": datasets.Image(), "photo": datasets.Image(), "words": datasets.Value("string")}
    )
    rows = {"mask": masks, "photo": photos, "words": ["a", "b", "c", "d"]}
    datasets.Dataset.from_dict(rows, kinds).to_parquet(tmp_path / "train.parquet")
    data = open_dataset(
        "parquet", path=str(tmp_path), column="mask", image_column="photo", captions="a mask of {words}"
    )
    assert data.image.shape == (4, 3, 8, 8) and data.image[3, :, 0, 0].tolist() == [3, 6, 200]
    assert data.captions == ("a mask of a", "a mask of b", "a mask of c", "a mask of d")
    assert batch_at(data, 0, 4, seed=0).cond["image"].shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image": Low(3)}, "image: low, size = 3: expected a divisor of 8 x 8"),
        ({"image": Grey()}, "image: grey: expected data with 3 channels, got 1"),
        ({"captions": "{word}"}, "captions: {word} is unknown, choose from class"),
    ],
)
def test_conditions_that_the_data_do_not_have(options, line):
    with pytest.raises(FastdiffError, match=line.replace("{", r"\{")):
        digits(**options)
