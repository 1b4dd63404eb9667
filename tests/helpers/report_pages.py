"""A run that was never run, its page and its sheets."""

import math

import numpy as np
from PIL import Image

from fastdiff.evaluation.report import page
from fastdiff.evaluation.summary import metrics_of, summary

SIDE = 8


ODD = """<b>&"odd' """.strip()


VALUES = {
    ("teacher", "ddim"): {1: 240.0, 2: 120.0, 4: 48.0, 50: 4.4},
    ("teacher", "ddpm"): {1000: 3.2},
    ("consistency", "consistency"): {1: 9.4, 2: 6.4, 4: 5.6},
    (ODD, "ddim"): {1: 8.1, 2: 5.2, 4: 6.6},
    ("broken", "ddim"): {1: math.inf, 2: 700.0},
}


FINITE = sum(math.isfinite(value) for at in VALUES.values() for value in at.values())


# The plots of the page.
NFE, TIME = '.plot svg[data-cost="nfe"]', '.plot svg[data-cost="ms"]'


DIFFERENCES = [
    {
        "a": "consistency",
        "b": ODD,
        "steps": s,
        "metric": "kid",
        "difference": d,
        "low": d - 0.2,
        "high": d + 0.2,
    }
    for s, d in ((1, 0.3), (2, 0.1))
]


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


def plausible(seeds=3):
    rows = []
    for (model, sampler), at in VALUES.items():
        for steps, value in at.items():
            for seed in range(seeds):
                fid = value * (1 + 0.01 * seed)
                what = {
                    "model": model,
                    "sampler": sampler,
                    "spacing": "uniform",
                    "steps": steps,
                    "guidance": 1.0,
                    "n": 64,
                }
                cost = {"nfe": steps, "ms_per_image": 0.4 * steps, "flops_per_image": 6e9 * steps}
                figures = {
                    "fid": fid,
                    "fid_inf": 0.9 * fid,
                    "is": 10 - math.log(fid) if math.isfinite(fid) else None,
                }
                made = {
                    "method": "denoising" if model == "teacher" else "cd",
                    "cell": f"{model}-{sampler}-uniform-{steps}",
                }
                rows.append({"key": f"{made['cell']}-{seed}", "seed": seed} | what | cost | figures | made)
    return rows


def written(run_dir, rows):
    """The page of these rows as a file, and as text."""
    text = page.html(
        run_dir,
        summary(rows),
        metrics_of(rows),
        f"{ODD} is best.",
        ["a < b"],
        ["few & noisy"],
        (["Model", "Images"], [["teacher", "1,000"]]),
        (["Model", "− DDPM 1000"], [[ODD, "+1.0 ± 0.2"]]),
        DIFFERENCES,
        {"device": "<cpu>"},
        [],
    )
    path = run_dir / "page.html"
    path.write_text(text, encoding="utf-8")
    return path, text


def sheets(run_dir, shape, folder="samples", seed=0):
    """Noise as the sheet of each cell, and of the real data: (height, width) -> {cell: pixels}."""
    (run_dir / folder).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pixels = {cell: rng.integers(0, 256, shape, dtype=np.uint8) for cell in [*cells(), "real"]}
    for cell, image in pixels.items():
        Image.fromarray(image).save(run_dir / folder / f"{cell}.png")
    return pixels


def cells():
    return list(dict.fromkeys(row["cell"] for row in plausible(1)))
