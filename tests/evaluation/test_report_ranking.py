"""The ranking of models: by the figure at their fewest steps, one line for each."""

import io
import math

import numpy as np
from PIL import Image

from fastdiff.evaluation.report.ranking import ranked, ranking
from fastdiff.evaluation.summary import summary
from tests.helpers.rows import row


def order(rows):
    return [
        [[(g["model"], g["steps"]) for g in own] for own in tier] for tier in ranked(summary(rows), "fd_a")
    ]


def seeded(rows):
    return [r | {"seed": seed, "key": f"{r['key']}{seed}"} for r in rows for seed in (0, 1)]


def test_the_best_at_the_fewest_steps_comes_first_and_many_steps_last():
    rows = seeded(
        [
            row("slow", steps=50, fd_a=0.1),
            row("two", steps=2, fd_a=0.5),
            row("good", steps=1, fd_a=2.0),
            row("good", steps=4, fd_a=1.0),
            row("poor", steps=1, fd_a=9.0),
            row("poor", steps=2, fd_a=0.2),
        ]
    )
    assert order(rows) == [
        [[("good", 1), ("good", 4)]],
        [[("poor", 1), ("poor", 2)]],
        [[("two", 2)]],
        [[("slow", 50)]],
    ]


def test_lines_that_are_not_distinguished_stand_in_the_order_of_their_names():
    rows = [row("b", steps=1, fd_a=1.0), row("a", steps=1, fd_a=2.0), row("c", steps=1, fd_a=9.0)]
    assert order(rows) == [[[("a", 1)], [("b", 1)], [("c", 1)]]]
    apart = seeded(rows[2:]) + [r | {"seed": 1, "key": r["model"], "fd_a": 3 - r["fd_a"]} for r in rows[:2]]
    assert order([*rows[:2], *apart]) == [[[("a", 1)], [("b", 1)]], [[("c", 1)]]]


def drawn(rows, aim=None):
    return Image.open(io.BytesIO(ranking(summary(rows), "fd_a", aim)))


def test_the_picture_grows_by_a_line_for_each_model():
    rows = [row(name, steps=1, fd_a=2.0 + i) for i, name in enumerate("abc")]
    one, three = drawn(rows[:1]), drawn(rows)
    assert abs(three.height - one.height - 2 * 0.26 * 160) <= 1
    assert drawn([*rows, row("fallen", steps=1, fd_a=math.inf)]).size == three.size


def test_a_figure_that_is_better_stands_further_left():
    def marker(value):
        rows = [row("a", steps=1, fd_a=value), row("b", steps=1, fd_a=1.0), row("c", steps=1, fd_a=100.0)]
        pixels = np.asarray(drawn(rows).convert("RGB")).astype(int)
        at = np.argwhere(np.abs(pixels - (0xD5, 0x5E, 0x00)).sum(2) < 6)[:, 1]  # the markers of one step
        return at.mean()

    assert marker(2.0) < marker(50.0) - 20
