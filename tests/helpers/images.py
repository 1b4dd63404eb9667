"""Pictures and tables of pictures that tests write."""

import datasets
import numpy as np
from PIL import Image


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
