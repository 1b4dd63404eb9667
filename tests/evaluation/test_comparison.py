"""Groups are compared by differences with intervals, and have no order where these contain 0."""

import math
from statistics import stdev

import numpy as np
import pytest

from fastdiff.evaluation.comparison import (
    Difference,
    best_and_equal,
    ddim,
    difference,
    figure_name,
    reference,
    standings,
    tiers,
)
from fastdiff.evaluation.summary import REAL, real_groups, summary
from tests.helpers.reported import find, plausible
from tests.helpers.reported import row as reported
from tests.helpers.rows import row

T2 = 4.302652729911275  # Student's t of two degrees of freedom, from a table


def seeded(model, values, steps=2, **more):
    return [row(model, seed, steps, fd_a=value, **more) for seed, value in enumerate(values)]


def test_equal_seeds_are_compared_in_pairs():
    """Noise that both share drops out: the interval is far narrower than those of the two figures."""
    a, b = summary(seeded("a", (10.0, 20.0, 31.0)) + seeded("b", (9.0, 18.5, 30.0)))
    apart = difference(a, b, "fd_a")
    assert apart.middle == pytest.approx(3.5 / 3)
    assert apart.half == pytest.approx(T2 * stdev((1.0, 1.5, 1.0)) / math.sqrt(3))
    assert apart.distinct and str(apart) == "+1.17 ± 0.72" and a["fd_a_ci"] > 20
    assert str(difference(b, a, "fd_a")) == "−1.17 ± 0.72"


def test_other_seeds_and_real_data_are_independent():
    rows = seeded("a", (1.0, 2.0, 3.0)) + [
        r | {"seed": 7 + r["seed"], "key": f"b{r['seed']}"} for r in seeded("b", (1.0, 2.0, 3.0, 4.0))
    ]
    a, b = summary(rows)
    welch = difference(a, b, "fd_a")
    variance = 1 / 3 + (5 / 3) / 4
    freedom = variance**2 / ((1 / 3) ** 2 / 2 + (5 / 12) ** 2 / 3)
    assert welch.middle == -0.5 and welch.half == pytest.approx(2.57058 * math.sqrt(variance), rel=0.01)
    assert freedom == pytest.approx(5, abs=0.1)  # 2.57058: Student's t of five degrees of freedom
    real = [r | {"model": REAL, "key": f"r{r['seed']}", "steps": None} for r in seeded("a", (1.0, 2.0, 3.0))]
    group = find(summary(rows + real), "a", 2)
    [of_real] = real_groups(rows + real, [group], ["fd_a"])
    assert difference(group, of_real, "fd_a").half == pytest.approx(
        2.776 * math.sqrt(2 / 3), rel=1e-3
    )  # not paired
    assert group["differences"]["real"].middle == 0


def test_welchs_interval_holds_the_difference_about_95_times_of_100():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        a, b = rng.normal(1.0, 1.0, 3), rng.normal(0.0, 3.0, 8)
        rows = seeded("a", a) + [r | {"model": REAL, "key": f"r{r['seed']}"} for r in seeded("b", b)]
        group = summary(rows)[0]
        middle, half = group["differences"]["real"]
        held += abs(middle - 1) < half
    assert 275 <= held <= 297


def test_one_seed_has_the_interval_of_standard_errors_or_none():
    a, b = summary([row("a", fd_a=1.0, kd_a=2.0, kd_a_se=0.3), row("b", fd_a=3.0, kd_a=1.0, kd_a_se=0.4)])
    assert str(difference(a, b, "fd_a")) == "−2.00 (no interval)" and not difference(a, b, "fd_a").distinct
    assert difference(a, b, "kd_a") == Difference(1.0, pytest.approx(1.96 * 0.5))
    assert not Difference(1.0, 1.0).distinct and str(Difference(0.5, 1.0)) == "+0.50 ± 1.00 ≈"


def test_what_is_not_comparable_has_no_difference():
    a, b = summary(seeded("a", (1.0, 2.0)) + [r | {"n": 128} for r in seeded("b", (1.0, 2.0))])
    assert difference(a, b, "fd_a") is None and difference(a, a, "fd_b") is None
    c, d = summary([row("c", fd_a=1.0), row("d", fd_a=math.inf)])
    assert difference(c, d, "fd_a") is None


def test_differences_are_from_the_teachers_ddpm_its_ddim_and_by_the_figure_for_infinite_n():
    groups = summary(plausible())
    student = find(groups, "progressive-1", 1)
    assert student["differences"] == {
        "ddpm": (pytest.approx(24.1 - 3.5), pytest.approx(0, abs=1e-9)),
        "ddim": (pytest.approx(24.1 - 3519), pytest.approx(0, abs=1e-9)),
    }
    assert find(groups, "teacher", 1000)["differences"] == {}
    assert set(find(groups, "teacher", 4, "dpmpp_2m")["differences"]) == {"ddpm", "ddim"}
    rows = [r | {"fd_digits_inf": r["fd_digits"] - 1 / r["steps"]} for r in plausible()]
    at_infinity = find(summary(rows), "progressive-1", 1)["differences"]["ddpm"]
    assert at_infinity.middle == pytest.approx(23.1 - 3.499)
    assert figure_name(summary(rows), "fd_digits") == "fd_digits_inf"
    assert figure_name(summary([*rows, reported("late", "ddim", 1, 2.0)]), "fd_digits") == "fd_digits"
    assert "gain" not in student


def test_the_reference_is_the_ddpm_of_most_steps_and_the_best_ddim():
    rows = [reported("teacher", "ddpm", 250, 3.0), reported("teacher", "ddpm", 1000, 4.0)]
    rows += [reported("teacher", "ddim", 4, 9.0), reported("teacher", "ddim", 4, 8.0, spacing="karras")]
    rows += [reported("student", "ddim", 4, 1.0)]
    groups = summary(rows)
    student = find(groups, "student", 4)
    assert reference(groups, "fd_digits", student)["steps"] == 1000
    assert ddim(groups, "fd_digits", student)["fd_digits"] == 8.0


def test_only_what_differs_from_every_other_is_the_best():
    rows = seeded("best", (1.0, 1.1, 1.2), recall_a=0.5) + seeded("far", (5.0, 5.2, 5.1), recall_a=0.5)
    rows += seeded("near", (4.9, 5.4, 5.0), recall_a=0.5) + seeded("alone", (1.0, 2.0), steps=4)
    names = {g["model"]: (g["bests"], g["equals"]) for g in summary(rows)}
    assert names["best"] == (["fd_a"], ["recall_a"])
    assert names["far"] == names["near"] == ([], ["recall_a"]) and names["alone"] == ([], [])
    rows += seeded("rival", (1.3, 0.9, 1.1))
    names = {g["model"]: (g["bests"], g["equals"]) for g in summary(rows)}
    assert names["best"][1] == ["fd_a", "recall_a"] and names["rival"] == ([], ["fd_a"])
    assert names["best"][0] == [] and names["far"] == ([], ["recall_a"])


def test_bests_follow_each_metrics_direction_among_equal_steps_and_n():
    a = seeded("a", (2.0, 2.1), recall_a=0.1, nearest_a=9.0)
    b = seeded("b", (3.0, 3.2), recall_a=0.9, nearest_a=1.0)
    other = [r | {"n": 128} for r in seeded("c", (1.0, 1.1), recall_a=1.0)]
    bests = {(g["model"], g["n"]): g["bests"] for g in summary([*a, *b, *other])}
    assert bests == {("a", 64): ["fd_a"], ("b", 64): ["recall_a"], ("c", 128): []}


def test_one_seed_makes_nothing_the_best():
    groups = summary(plausible(seeds=(0,)))
    assert not any(group["bests"] or group["equals"] for group in groups)
    assert standings(groups, []) == [{"bests": [], "equals": []}] * len(groups)


def test_tiers_have_no_order_inside():
    rows = seeded("c", (1.0, 1.4, 1.2)) + seeded("a", (1.1, 1.2, 1.6)) + seeded("d", (5.0, 5.2, 5.3))
    rows += seeded("b", (5.1, 5.1, 5.5)) + seeded("e", (9.0, 9.1, 9.2))
    groups = summary(rows)
    assert [[g["model"] for g in tier] for tier in tiers(groups, "fd_a")] == [["a", "c"], ["b", "d"], ["e"]]
    best, equal = best_and_equal(groups, "fd_a")
    assert (best["model"], [g["model"] for g in equal]) == ("c", ["a"])
    assert best_and_equal([], "fd_a") == (None, []) and tiers([], "fd_a") == []
