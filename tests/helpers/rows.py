"""Rows of a benchmark, written by hand."""


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
