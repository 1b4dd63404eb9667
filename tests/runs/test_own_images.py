"""One's own images from beginning to end: a first recipe, its run, a feature network, and both tables."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.evaluation.opening import warn_of_pixels
from fastdiff.evaluation.rows import read_rows
from tests.helpers.images import save
from tests.helpers.rows import model_rows

pytestmark = pytest.mark.long


def draw(folder, count=30):
    """Discs and bars in colours of 16 x 16 pixels, a folder each."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for i in range(count):
        centre, colour = random.uniform(5, 10, 2), random.integers(100, 256, 3)
        near = {
            "discs": (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 16,
            "bars": (abs(y - centre[0]) < 2) & (abs(x - centre[1]) < 6),
        }
        for name, shown in near.items():
            save(folder / name / f"{i}.png", Image.fromarray((shown[..., None] * colour).astype(np.uint8)))


def test_from_a_folder_to_two_tables(fastdiff, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError))
    draw(tmp_path / "shapes")
    assert fastdiff("init", "shapes", "--minutes", 0.2)[0] == 0
    code, out, err = fastdiff("run", "shapes.yaml")
    assert code == 0 and "energy_px16" in out and "warning" not in err
    rows = model_rows(tmp_path / "checkpoints/shapes")
    assert {row["model"] for row in rows} == {"teacher", "progressive-4", "progressive-2", "progressive-1"}
    assert all(row["energy_px16_se"] > 0 and row["swd_px16"] > 0 for row in rows)
    reals = [row for row in read_rows(tmp_path / "checkpoints/shapes/bench.jsonl") if row not in rows]
    assert reals and abs(sum(row["energy_px16"] for row in reals)) / len(reals) < 0.5  # unbiased: around 0
    assert (
        "px16: compared as images of 16 x 16 pixels"
        in (tmp_path / "checkpoints/shapes/report.md").read_text()
    )

    code, out, _ = fastdiff("features", "shapes.yaml", "--out", "judge", "--epochs", 40)
    assert code == 0 and "fd_shapes, accuracy" in out
    code, out, _ = fastdiff("run", "shapes.yaml", "bench.extractor=judge")
    assert code == 0 and "fd_shapes" in out
    again = [row for row in model_rows(tmp_path / "checkpoints/shapes") if "fd_shapes" in row]
    assert len(again) == len(rows) and all(0 <= row["accuracy_shapes"] <= 1 for row in again)

    warn_of_pixels.cache_clear()
    code, _, err = fastdiff("run", "shapes.yaml", "bench.extractor=null", "bench.n=40")
    assert code == 0 and err.count("no feature network is available") == 1
