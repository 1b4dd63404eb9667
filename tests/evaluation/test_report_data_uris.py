"""Pictures as data URIs."""

import base64

import numpy as np
from PIL import Image

from fastdiff.evaluation.report.data_uris import pictures


def test_pictures_that_fit_are_kept_and_others_compressed_alike(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (64, 1024), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    whole = pictures(tmp_path, ["a", "b", "nosuch", None], 10**6, 16)
    assert set(whole) == {"a", "b"}
    assert base64.b64decode(whole["a"].split(",")[1]) == (tmp_path / "a.png").read_bytes()
    small = pictures(tmp_path, ["a", "b"], 40_000, 16)
    assert {source.split(",")[0] for source in small.values()} == {"data:image/webp;base64"}
    assert pictures(tmp_path, ["a", "b"], 10, 16) == {}
