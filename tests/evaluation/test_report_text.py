"""The verdict of a report, and its warnings."""

from fastdiff.evaluation.report.text import notes, verdict, warnings
from fastdiff.evaluation.summary import summary
from tests.helpers.reported import find, plausible, row


def text_of(rows):
    return verdict(summary(rows), "fd_digits")


def test_the_verdict_compares_the_best_of_few_steps_with_the_teacher_by_differences():
    assert text_of(plausible()) == (
        "consistency, 4 steps: fd_digits 9.50 ± 0.25, the smallest of students at 4 steps or fewer. "
        "Difference: −231 ± 0 from the teacher's DDIM at 4 steps; +5.90 ± 0.00 from the teacher's DDPM at "
        "1000 steps, which takes 250 times as long."
    )


def test_the_verdict_is_by_the_figure_for_infinite_n_and_names_real_data():
    rows = [r | {"fd_digits_inf": r["fd_digits"] - 0.5} for r in plausible()]
    groups = summary(rows)
    real = find(groups, "teacher", 1000) | {
        "real": True,
        "values": {"fd_digits_inf": {0: 1.0, 1: 1.2, 2: 1.1}},
    }
    text = verdict(groups, "fd_digits", real | {"fd_digits_inf": 1.1})
    assert text.startswith("consistency, 4 steps: fd_digits for n→∞ 9.00 ± 0.25, the smallest")
    assert text.endswith("; +7.90 ± 0.23 from real data, held out.")


def test_the_verdict_names_what_is_not_distinguished_from_the_best():
    def rows(name, steps, *values):
        return [row(name, "consistency", steps, value, seed) for seed, value in enumerate(values)]

    close = [
        *rows("a", 4, 10.0, 12.0, 11.0),
        *rows("b", 1, 11.0, 11.0, 11.5),
        *rows("c", 2, 90.0, 92.0, 91.0),
    ]
    assert text_of(close) == (
        "a, 4 steps: fd_digits 11.0 ± 2.5, the smallest of students at 4 steps or fewer. Not distinguished "
        "from it: b, 1 step."
    )
    many = [line for name in "bdefgh" for line in rows(name, 4, 11.0, 11.0, 11.5)]
    assert "b, 4 steps; d, 4 steps; e, 4 steps; f, 4 steps; and 2 more." in text_of([*close[:3], *many])


def test_one_seed_distinguishes_no_student():
    rows = [
        row("distilled", "consistency", steps, value)
        for steps, value in ((1, 12.0), (2, 10.9), (4, 10.0), (8, 1.0))
    ]
    assert text_of(rows) == (
        "distilled, 4 steps: fd_digits 10.0, the smallest of students at 4 steps or fewer. With one seed "
        "there is no interval, and no student is distinguished from another."
    )
    assert text_of(rows[-1:]) == "distilled, 8 steps: fd_digits 1.00, student."
    larger = text_of([*rows, row("consistency", "consistency", 4, 50.0, n=2000)])
    assert larger == "consistency, 4 steps: fd_digits 50.0, student."


def test_the_verdict_does_with_what_there_is():
    student = row("distilled", "consistency", 2, 20.0)
    solver = row("teacher", "heun", 4, 10.0, ms_per_image=0.4)
    assert text_of([student, solver]) == (
        "distilled, 2 steps: fd_digits 20.0, student. Difference: +10.0 (no interval) from the teacher's "
        "best sampler, heun at 4 steps, which takes 0.5 times as long."
    )
    elsewhere = solver | {"device": "another"}  # times of two machines do not compare
    assert text_of([student, elsewhere]).endswith("from the teacher's best sampler, heun at 4 steps.")
    alone = text_of([solver])
    assert "No student" in alone and "fd_digits 10.0 with its best sampler, heun at 4 steps" in alone
    assert "No finite" in text_of([row("distilled", "consistency", 2, float("nan"))])
    below = [row("distilled", "consistency", 2, -0.2), row("teacher", "ddpm", 9, 0.1, ms_per_image=None)]
    assert text_of(below) == (
        "distilled, 2 steps: fd_digits -0.200, student. Difference: −0.300 (no interval) from the teacher's "
        "DDPM at 9 steps."
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


def test_pixels_are_explained_where_they_judge():
    def noted(metric):
        rows = [
            {metric if key == "fd_digits" else key: value for key, value in r.items()} for r in plausible()
        ]
        return "\n".join(notes(summary(rows), [metric]))

    assert "px16: compared as images of 16 x 16 pixels" in noted("energy_px16")
    assert "pixels" not in noted("energy")
