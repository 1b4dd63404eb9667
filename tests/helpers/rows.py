"""Rows of a benchmark, written by hand or read from a run."""

from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import models_only


def model_rows(folder):
    """The rows of a run's models, without those of real data."""
    return models_only(read_rows(folder / "bench.jsonl"))


def row(model="consistency", seed=0, steps=2, **figures):
    sampler = "ddim" if model == "teacher" else "consistency"
    return {
        "key": f"{model}{steps}{seed}",
        "model": model,
        "sampler": sampler,
        "spacing": "uniform",
        "steps": steps,
        "guidance": 1.0,
        "n": 64,
        "seed": seed,
        "method": None if model == "teacher" else "ect",
    } | figures
