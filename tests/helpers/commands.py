"""Commands in processes of their own, and what they are run on."""

import os
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.helpers.paths import ROOT

RECIPE = {
    "name": "tiny",
    "data": {"name": "toy", "n": 32},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "train": {"steps": 2, "batch": 8},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": [], "n": 8},
}


def command(*words, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "fastdiff", *map(str, words)],
        cwd=cwd,
        text=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | (env or {}),
    )


def picture(path, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
