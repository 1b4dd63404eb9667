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
