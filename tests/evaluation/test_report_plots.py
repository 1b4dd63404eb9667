"""Pictures of a report are functions of its rows."""

from xml.etree import ElementTree

from PIL import Image

from fastdiff.evaluation import report
from fastdiff.evaluation.report import plots
from fastdiff.evaluation.report import writers as files


def test_pictures_are_functions_of_the_rows(report_dir):
    report.write(report_dir)
    first = {name: (report_dir / name).read_bytes() for name in files.PLOTS}
    report.write(report_dir)
    assert all((report_dir / name).read_bytes() == data for name, data in first.items())
    assert all(
        ElementTree.fromstring(data).tag.endswith("svg")
        for name, data in first.items()
        if name.endswith("svg")
    )
    assert Image.open(report_dir / "quality-nfe.png").size == (1056, 864)


def test_the_front_is_what_nothing_beats_in_both():
    points = [(1, 9.0), (1, 8.0), (2, 8.0), (2, 12.0), (4, 3.0), (8, 3.5), (50, 1.0)]
    assert plots._front(points) == [(1, 8.0), (4, 3.0), (50, 1.0)]


def test_of_many_lines_only_the_front_and_the_teachers_are_in_colour():
    def group(line, teacher=False):
        return {"line": line, "teacher": teacher}

    few = [group("t", True), *(group(f"s{i}") for i in range(plots.MANY_LINES - 1))]
    assert plots.OTHERS not in plots._styles(few, {"s1"}).values()
    styles = plots._styles([*few, group("more")], {"s1", "t"})
    assert set(styles) == {"t", "more", *(f"s{i}" for i in range(plots.MANY_LINES - 1))}
    assert {line for line, style in styles.items() if style != plots.OTHERS} == {"t", "s1"}
    assert styles["s1"]["color"] == plots.STUDENT_COLOURS[0] and styles["t"]["linestyle"] == "--"
