"""Samples that several processes share are those of one."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.io.load import load
from fastdiff.samplers.generate import sample
from tests.helpers.processes import together

pytestmark = pytest.mark.long


def test_two_and_four_processes_draw_the_samples_of_one(tmp_path, fastdiff):
    how = ("sample", "checkpoints/digits/consistency", "--steps", "2", "-n", "9", "--seed", "3")
    assert fastdiff(*how, "--out", tmp_path / "1")[0] == 0
    for count in (2, 4):
        printed = together(tmp_path, count, "fastdiff.cli", *how, "--out", tmp_path / str(count))
        assert printed.count("9 samples in") == 1
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 9
    for count in ("2", "4"):
        assert sorted(path.name for path in (tmp_path / count).iterdir()) == names
        for name in names:
            a, b = (np.asarray(Image.open(tmp_path / k / name), int) for k in ("1", count))
            assert abs(a - b).max() <= 1, (count, name)  # one level of 256: rounding


def test_a_share_of_the_samples_is_their_part(tmp_path):
    model = load("checkpoints/digits/consistency")
    whole = sample(model, steps=2, n=7)
    for world in (2, 3):
        for rank in range(world):
            own = sample(model, steps=2, n=7, shard=(rank, world))
            torch.testing.assert_close(own, whole[rank::world], atol=1e-4, rtol=0)
    assert sample(model, steps=2, n=1, shard=(1, 2)).shape == (0, 1, 8, 8)
