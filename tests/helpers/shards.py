"""Shards that tests pack, and streams that are opened on them."""

import copy
import io
import tarfile
from functools import cache

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fastdiff.data.registry import open_dataset

SIZES = [31, 17, 24, 9, 40, 12, 22]  # of shards; on 4 lanes: 71, 29, 46 and 9 examples


ORIGIN = (load_digits().images * 15).round().astype(np.uint8)[:, None]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "png")
    return file.getvalue()


def pack(path, samples) -> None:
    """A tar of samples {extension: bytes}."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, fields in enumerate(samples):
            for extension, content in fields.items():
                member = tarfile.TarInfo(f"{path.stem}-{number:04d}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def digits(start, count):
    """Digits labelled by their own numbers, so that a label tells which example it is."""
    return [{"png": png(ORIGIN[i]), "cls": str(i).encode()} for i in range(start, start + count)]


def opened(path, **options):
    """A stream at its beginning."""
    usual = {"resolution": 8, "colour": "grey", "classes": 1797, "buffer": 24, "reference": 50}
    stream = copy.copy(listed(path=str(path), **usual | options))
    stream.seek({})
    return stream


@cache
def listed(**options):
    return open_dataset("stream", **options)


def seen(stream, start, count, size=12, seed=0, world=1) -> list[int]:
    """The examples at positions start .. start+count-1, as read by one process after another."""
    ranks = stream if isinstance(stream, list) else [stream]
    numbers = torch.zeros(count, dtype=torch.long)
    for position in range(start, start + count, size):
        for rank, own in enumerate(ranks):
            rows = own.read(position, size, seed, rank, len(ranks))
            assert torch.equal(rows.x0, torch.from_numpy(ORIGIN[rows.labels.numpy()]))
            numbers[rows.positions - start] = rows.labels
    return numbers.tolist()


def cut(file) -> None:
    file.write_bytes(file.read_bytes()[:2000])
