"""Rows of a run, plausible ones, and what is found among them."""

import numpy as np

TEACHER = {
    "ddim": {50: 5.1, 8: 61.0, 4: 240.0, 2: 1210.0, 1: 3519.0},
    "ddpm": {1000: 3.5},
    "dpmpp_2m": {4: 118.0, 8: 9.0},
}


STUDENTS = {
    "consistency": {1: 38.0, 2: 14.0, 4: 9.4, 8: 8.8},
    "distilled": {1: 31.0, 2: 19.0, 4: 16.2, 8: 17.5},
}


def row(model, sampler, steps, value, seed=0, **more):
    cell = f"{model}-{sampler}-uniform-{steps}"
    method = {"teacher": "denoising"}.get(model, model.split("-")[0])
    fixed = {
        "spacing": "uniform",
        "nfe": steps,
        "guidance": 1.0,
        "n": 512,
        "params": 412_233,
        "train_images": 1_000_000,
    }
    made = {
        "extractor": "digits",
        "reference": "9f3a",
        "device": "cpu",
        "processes": 1,
        "versions": {"torch": "2.15"},
    }
    what = {
        "key": f"{cell}-{seed}",
        "model": model,
        "method": method,
        "sampler": sampler,
        "steps": steps,
        "seed": seed,
    }
    return (
        what
        | fixed
        | made
        | {"fd_digits": value, "ms_per_image": 0.4 * steps, "cell": cell, "commit": "3f2c9ab"}
        | more
    )


def plausible(seeds=(0, 1, 2)):
    found = [("teacher", sampler, steps, v) for sampler, at in TEACHER.items() for steps, v in at.items()]
    found += [
        (f"progressive-{steps}", "ddim", steps, v) for steps, v in {8: 9.1, 4: 11.2, 2: 15.4, 1: 24.1}.items()
    ]
    found += [(model, "consistency", steps, v) for model, at in STUDENTS.items() for steps, v in at.items()]
    return [
        row(model, sampler, steps, v + 0.1 * seed, seed)
        for model, sampler, steps, v in found
        for seed in seeds
    ]


def strip(side, images):
    return np.random.default_rng(0).integers(0, 256, (side, side * images), dtype=np.uint8)


def find(groups, model, steps, sampler=None):
    [group] = [
        g for g in groups if (g["model"], g["steps"]) == (model, steps) and sampler in (None, g["sampler"])
    ]
    return group


def rich(seeds=(0, 1, 2)):
    """Rows with metrics and costs beyond the main ones."""
    costs = {"batch": 256, "kd_digits_se": 1e-4}
    return [
        r
        | costs
        | {
            "kd_digits": r["fd_digits"] / 1000,
            "recall_digits": 1 / (1 + r["steps"]),
            "fd_digits_inf": 0.95 * r["fd_digits"],
            "flops_per_image": 2.5e9 * r["steps"],
        }
        for r in plausible(seeds)
    ]
