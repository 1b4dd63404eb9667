"""The verdict of a report, and its warnings."""

from fastdiff.evaluation.report.text import notes, verdict, warnings
from fastdiff.evaluation.summary import summary
from tests.helpers.reported import plausible, row


def said(rows):
    return verdict(summary(rows), "fd_digits")


def test_the_verdict_sets_the_best_of_few_steps_against_the_teacher():
    assert said(plausible()) == (
        "Best few-step student: consistency, 4 steps, fd_digits 9.50 ± 0.25. Teacher: 240 with DDIM at 4 "
        "steps, 3.60 ± 0.25 with DDPM at 1000 steps, which takes 250 times as long."
    )


def test_the_verdict_takes_the_fewest_steps_of_what_is_as_good():
    rows = [
        row("distilled", "consistency", steps, value)
        for steps, value in ((1, 12.0), (2, 10.9), (4, 10.0), (8, 1.0))
    ]
    assert said(rows) == "Best few-step student: distilled, 2 steps, fd_digits 10.9."
    assert said(rows[-1:]) == "Best student: distilled, 8 steps, fd_digits 1.00."
    assert (
        said([*rows, row("consistency", "consistency", 4, 50.0, n=2000)])
        == "Best few-step student: consistency, 4 steps, fd_digits 50.0."
    )


def test_the_verdict_does_with_what_there_is():
    student = row("distilled", "consistency", 2, 20.0)
    solver = row("teacher", "heun", 4, 10.0, ms_per_image=0.4)
    assert said([student, solver]) == (
        "Best few-step student: distilled, 2 steps, fd_digits 20.0. Teacher: 10.0 with its best sampler, "
        "heun at 4 steps, which takes 0.5 times as long."
    )
    elsewhere = solver | {"device": "another"}  # times of two machines do not compare
    assert said([student, elsewhere]).endswith("with its best sampler, heun at 4 steps.")
    assert "No student" in said([solver]) and "fd_digits 10.0 with its best sampler, heun at 4 steps" in said(
        [solver]
    )
    assert "No finite" in said([row("distilled", "consistency", 2, float("nan"))])
    below = [row("distilled", "consistency", 2, -0.2), row("teacher", "ddpm", 9, 0.1, ms_per_image=None)]
    assert (
        said(below)
        == "Best few-step student: distilled, 2 steps, fd_digits -0.200. Teacher: 0.100 with DDPM at 9 steps."
    )


def test_warnings_name_what_speaks_against_the_figures():
    def warned(rows):
        return warnings(summary(rows), "fd_digits")

    assert warned(plausible()) == []
    [few] = warned([r | {"dims": 2048, "extractor": "inception"} for r in plausible()])
    assert few == (
        "n = 512 is below the 2048 dimensions of inception: the covariance is singular and the value "
        "is mostly bias."
    )
    assert warned([r | {"dims": 511} for r in plausible()]) == []
    assert warned([r | {"dims": 512} for r in plausible()])[0].startswith(
        "n = 512 is only the 512 dimensions"
    )
    [biased] = warned(
        [r | {"fd_digits_inf": r["fd_digits"] * (0.6 if r["steps"] == 2 else 0.95)} for r in plausible()]
    )
    assert biased.startswith("At n = 512 up to 40 % of fd_digits is bias (") and "at 2 steps" in biased
    assert warned(plausible(seeds=(0,))) == ["Every cell has a single seed: no interval for fd_digits."]
    one = [r for r in plausible() if r["seed"] == 0 or r["model"] == "teacher"]
    assert warned(one) == ["12 of 20 cells have a single seed: no interval for fd_digits."]
    rows = [
        row("distilled", "consistency", 2, 3.0, 0),
        row("distilled", "consistency", 2, float("inf"), 1, broken=[17]),
    ]
    assert warned(rows) == ["distilled at 2 steps produced values that are not finite: sample 17 of seed 1."]


def test_the_interval_is_explained_where_there_is_one():
    def noted(rows):
        return "\n".join(notes(summary(rows), ["fd_digits"]))

    assert "95 % t-interval over seeds, disjoint sets of samples; it does not contain the" in noted(
        plausible()
    )
    assert "±" not in noted(plausible(seeds=(0,)))
