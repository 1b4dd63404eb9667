"""The ranking on the page."""

import pytest

from fastdiff.evaluation.report.ladder import ladder, ticks
from fastdiff.evaluation.summary import summary
from tests.helpers.report_pages import ODD, plausible


def test_lines_stand_in_the_order_of_the_ranking_at_the_places_of_their_values():
    groups = summary(plausible())
    found = ladder(groups, "fid", None, None)
    names = [line["name"] for line in found["lines"]]
    assert names == [ODD, "consistency", "teacher ddim", "broken", "teacher ddpm"]
    assert [line["opens"] for line in found["lines"]][0] is False and not found["tied"]
    first = found["lines"][0]
    assert [mark["steps"] for mark in first["marks"]] == [4, 2, 1]  # the fewest steps on top
    assert first["ends"] == (min(m["place"] for m in first["marks"]), max(m["place"] for m in first["marks"]))
    values = {(g["line"], g["steps"]): g["fid"] for g in groups}
    marks = [
        (values[line["name"], mark["steps"]], mark["place"])
        for line in found["lines"]
        for mark in line["marks"]
    ]
    places = [place for _, place in sorted(marks)]
    assert places == sorted(places) and 0 < places[0] < places[-1] < 100
    low, high = first["marks"][0]["spread"]
    assert low < first["marks"][0]["place"] < high
    assert {mark["look"] for line in found["lines"] for mark in line["marks"]} >= {
        "steps-1",
        "steps-more of-teacher long",
    }


def test_levels_are_the_teacher_and_real_data():
    groups = summary(plausible())
    aim = next(group for group in groups if group["steps"] == 1000)
    real = {"line": "real data", "fid": 2.0, "figures": {"fid": "2.00"}}
    levels = ladder(groups, "fid", aim, real)["levels"]
    assert [level["look"] for level in levels] == ["aim", "real"]
    assert levels[0]["text"].startswith("dashed: teacher ddpm, 1000 steps, 3.23")
    assert levels[1]["text"] == "dotted: real data, 2.00" and levels[1]["place"] < levels[0]["place"]


def test_without_values_there_is_no_ranking():
    assert ladder(summary([row | {"fid": -1.0} for row in plausible(1)]), "fid", None, None) is None


@pytest.mark.parametrize(
    "low, high, found", [(0.9, 12, [1, 2, 5, 10]), (1, 1000, [1, 3, 10, 30, 100, 300, 1000]), (2.1, 2.2, [])]
)
def test_ticks_are_round_numbers(low, high, found):
    assert ticks(low, high) == pytest.approx(found)
