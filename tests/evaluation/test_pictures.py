"""Pictures of a benchmark's cells: of one noise in every cell, and from noise to the sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.pictures import chosen, keep_terms, sheet_size
from fastdiff.evaluation.sweep import sweep
from fastdiff.networks import unet
from tests.helpers.swept import stored


def test_pictures_are_of_one_noise_whatever_the_seeds(models, toy, tmp_path):
    config = {"steps": (1,), "baselines": (), "n": 12}
    for seeds, out in (((0,), "a"), ((1, 2), "b")):
        list(sweep(models, toy, BenchConfig(seeds=seeds, **config), tmp_path / out, teacher="teacher"))
    names = sorted(path.name for path in (tmp_path / "a/samples").iterdir())
    assert len(names) > 1
    for name in names:
        a, b = (np.asarray(Image.open(tmp_path / out / "samples" / name)).astype(int) for out in "ab")
        assert np.abs(a - b).max() <= 1, name


def test_pictures_that_are_kept(tmp_path):
    torch.manual_seed(0)
    digits = open_dataset("digits")
    net = unet((1, 8, 8), channels=(8,), layers=1)
    torch.nn.init.normal_(net.module.conv_out.weight)
    path = stored(tmp_path / "teacher", Denoiser(net, Cosine(), "v", (1, 8, 8)).eval(), "denoising")
    config = BenchConfig(steps=(1, 3), baselines=("ddim:20",), n=100, batch=30)
    list(sweep({"teacher": path}, digits, config, tmp_path, teacher="teacher"))
    opened = {p.relative_to(tmp_path): Image.open(p) for p in tmp_path.glob("*/*.png")}
    sizes = {str(p): image.size for p, image in opened.items()}
    assert sizes == {
        "samples/real.png": (128, 32),
        **{f"samples/teacher-ddim-uniform-{k}.png": (128, 32) for k in (1, 3, 20)},
        "trajectory/teacher-ddim-uniform-3.png": (24, 64),
        "trajectory/teacher-ddim-uniform-20.png": (80, 64),
    }
    sheet, way = (
        np.asarray(opened[Path(f"{kind}/teacher-ddim-uniform-20.png")]) for kind in ("samples", "trajectory")
    )
    for i in range(8):  # the way ends at the sheet's sample
        assert (
            np.abs(sheet[:8, 8 * i : 8 * i + 8].astype(int) - way[8 * i : 8 * i + 8, 72:].astype(int)).max()
            <= 1
        )
    real = np.asarray(opened[Path("samples/real.png")])
    assert np.array_equal(real[8:16, :8], digits.examples[16, 0].numpy())


@pytest.mark.parametrize(
    ("states", "count", "places"),
    [(1, 9, []), (3, 9, [0, 1]), (10, 3, [0, 4, 8]), (21, 9, [0, 2, 5, 7, 10, 12, 14, 17, 19])],
)
def test_states_are_chosen_evenly_and_without_the_last(states, count, places):
    assert chosen(list(range(states)), count) == places


def test_more_points_are_drawn_than_images():
    points, images = Dataset("dots", torch.zeros(9, 2)), Dataset("few", torch.zeros(9, 1, 8, 8))
    assert [sheet_size(data, n) for data in (points, images) for n in (10, 5000)] == [10, 1000, 10, 64]


def test_terms_are_kept_by_the_cells_key_if_there_are_any(tmp_path):
    keep_terms({}, tmp_path, "none")
    keep_terms({"kd.generated": torch.arange(3.0)}, tmp_path, "some")
    [path] = tmp_path.rglob("*.safetensors")
    assert path == tmp_path / "influence/some.safetensors"
    assert load_file(path)["kd.generated"].tolist() == [0, 1, 2]
