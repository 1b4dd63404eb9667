"""Intervals of paired differences hold the truth as often as they say, and gain from the pairing."""

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastdiff.evaluation.report.significance import Terms, differences, interval
from fastdiff.evaluation.rows import append_row, read_rows


def terms(generated, reference):
    return Terms(generated.mean() + reference.mean(), generated, reference)


def width(a, b):
    _, low, high = interval([a], [b], draws=1000)
    return high - low


def test_the_interval_holds_a_known_difference_about_95_times_of_100():
    held = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        a, b = [], []
        for _ in range(2):  # seeds
            noise, data = rng.standard_normal(200), np.random.default_rng(1000 + trial).standard_normal(150)
            a.append(terms(0.3 + noise + 0.5 * rng.standard_normal(200), 0.6 * data))
            b.append(terms(0.1 + noise + rng.exponential(size=200), 0.2 * data))  # of mean 1, and skewed
        middle, low, high = interval(a, b, draws=400)
        held += low < -0.8 < high
        assert low < middle < high
    assert 180 <= held <= 198


def energy_terms(x, y):
    """The energy distance of samples on the line, without bias, and its first-order terms."""
    across, among, data = (abs(np.subtract.outer(u, v)) for u, v in ((x, y), (x, x), (y, y)))
    n, m = len(x), len(y)
    figure = 2 * across.mean() - among.sum() / (n * (n - 1)) - data.sum() / (m * (m - 1))
    return Terms(
        figure,
        2 * across.mean(1) - 2 * among.sum(1) / (n - 1),
        2 * across.mean(0) - 2 * data.sum(1) / (m - 1),
    )


def mean_abs(mu, s):
    """E |z| of a Gaussian."""
    return s * math.sqrt(2 / math.pi) * math.exp(-mu * mu / (2 * s * s)) + mu * math.erf(
        mu / (s * math.sqrt(2))
    )


def test_the_interval_holds_the_difference_of_two_energy_distances():
    def exact(mu, s):
        return 2 * mean_abs(mu, math.hypot(s, 1)) - mean_abs(0, s * math.sqrt(2)) - mean_abs(0, math.sqrt(2))

    truth, held = exact(0.5, 1.0) - exact(0.0, 1.6), 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        z, y = rng.standard_normal(120), rng.standard_normal(120)
        _, low, high = interval([energy_terms(0.5 + z, y)], [energy_terms(1.6 * z, y)], draws=400)
        held += low < truth < high
    assert 180 <= held <= 198


def test_pairs_narrow_the_interval_of_what_goes_together():
    rng = np.random.default_rng(0)
    noise, data, own = rng.standard_normal((3, 2000))
    a, b = terms(noise + 0.1 * own, data), terms(noise, data)
    order = rng.permutation(2000)
    unpaired = terms(noise[order], data[order])
    assert width(a, b) == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(2000), rel=0.15)
    assert width(a, unpaired) > 10 * width(a, b)


def test_more_seeds_narrow_the_interval_of_noise_but_not_of_the_reference():
    rng = np.random.default_rng(0)
    flat, data, own = np.zeros(500), rng.standard_normal(500), rng.standard_normal((4, 500))

    def over(seeds, scale, spread):
        a = [terms(scale * x, spread * data) for x in own[:seeds]]
        _, low, high = interval(a, [terms(flat, flat)] * seeds)
        return high - low

    assert over(4, 1, 0) / over(1, 1, 0) == pytest.approx(1 / 2, rel=0.1)
    assert over(4, 0, 1) == pytest.approx(over(1, 0, 1), rel=0.1)


def write(folder, model, sampler, steps, level, seed=0, n=64, kept=True, **more):
    rng = np.random.default_rng([seed, len(model), steps])
    generated, reference = (
        (level + 0.01 * rng.standard_normal(n)).astype("f4"),
        0.01 * rng.standard_normal(50).astype("f4"),
    )
    key = f"{model}-{sampler}-{steps}-{seed}-{n}"
    row = {
        "key": key,
        "model": model,
        "sampler": sampler,
        "spacing": "uniform",
        "steps": steps,
        "guidance": 1.0,
        "n": n,
        "seed": seed,
        "method": "denoising" if model == "teacher" else "ect",
        "kd_a": level,
        "fd_a": 9 - level,
    }
    append_row(folder / "bench.jsonl", row | more)
    if kept:
        (folder / "influence").mkdir(exist_ok=True)
        parts = {"kd_a.generated": generated, "kd_a.reference": reference}
        save_file(parts, folder / "influence" / f"{key}.safetensors")


def test_students_and_the_teachers_best_solver_stand_against_the_best_of_all(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "teacher", "ddim", 2, 5.0, seed)
        write(tmp_path, "teacher", "heun", 2, 3.0, seed)
        write(tmp_path, "near", "consistency", 2, 1.0, seed)
        write(tmp_path, "far", "consistency", 2, 4.0, seed)
        write(tmp_path, "far", "consistency", 1, 6.0, seed)
    found = differences(read_rows(tmp_path / "bench.jsonl"), tmp_path)
    assert [(line["a"], line["b"], line["steps"]) for line in found] == [
        ("teacher heun", "near", 2),
        ("far", "near", 2),
    ]
    assert all(line["metric"] == "kd_a" and line["low"] < line["difference"] < line["high"] for line in found)
    assert [line["difference"] for line in found] == [2.0, 3.0]
    assert all(line["low"] > 0 for line in found)
    assert found == differences(read_rows(tmp_path / "bench.jsonl"), tmp_path)  # the same draws each time


def test_what_is_missing_is_left_out(tmp_path):
    write(tmp_path, "best", "consistency", 2, 0.5, kept=False)
    write(tmp_path, "first", "consistency", 2, 1.0)
    write(tmp_path, "first", "consistency", 2, 1.0, seed=1)
    write(tmp_path, "second", "consistency", 2, 2.0)
    write(tmp_path, "second", "consistency", 2, 8.0, seed=1, kept=False)
    write(tmp_path, "other", "consistency", 2, 1.5, n=32)
    write(tmp_path, "apart", "consistency", 2, 1.5, seed=7)
    write(tmp_path, "broken", "consistency", 2, float("inf"))
    [line] = differences(read_rows(tmp_path / "bench.jsonl"), tmp_path)
    assert (line["a"], line["b"], line["difference"]) == (
        "second",
        "first",
        1.0,
    )  # over the one seed that both have
    assert differences(read_rows(tmp_path / "bench.jsonl"), tmp_path / "elsewhere") == []


def test_a_frechet_distance_is_never_drawn(tmp_path):
    for model, level in (("a", 1.0), ("b", 2.0)):
        write(tmp_path, model, "consistency", 2, level, kd_a=None)
    assert differences(read_rows(tmp_path / "bench.jsonl"), tmp_path) == []
