"""Pictures of a report are functions of its rows and strips."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation import report
from fastdiff.evaluation.report import grid, plots
from fastdiff.evaluation.report import writers as files
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import summary
from tests.helpers.reported import strip


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


def drawn_grid(report_dir):
    groups = summary(read_rows(report_dir / "bench.jsonl"))
    return np.asarray(Image.open(io.BytesIO(grid.grid(groups, "fd_digits", report_dir / "samples"))))


def test_the_grid_enlarges_strips_by_whole_pixels(report_dir):
    drawn = drawn_grid(report_dir)
    digit = np.repeat(
        np.repeat(strip(8, 16)[:, -8:], 6, 0), 6, 1
    )  # the last image of the first strip, flush right
    assert (drawn[14 : 14 + 48, -14 - 48 : -14] == digit[..., None]).all()
    assert drawn.shape[0] == 2 * 14 + 20 * 48 + 19 * 8  # a strip for each of twenty cells


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_grid_takes_the_first_row_of_sheets_and_real_data_on_top(report_dir, rows):
    sheet = np.concatenate([strip(8, 16), *[np.zeros((8, 128), np.uint8)] * (rows - 1)])
    for path in (report_dir / "samples").iterdir():
        Image.fromarray(sheet).save(path)
    Image.fromarray(255 - sheet).save(report_dir / "samples" / "real.png")
    drawn = drawn_grid(report_dir)
    assert drawn.shape[0] == 2 * 14 + 21 * 48 + 20 * 8
    digit = np.repeat(np.repeat(strip(8, 16)[:, -8:], 6, 0), 6, 1)[..., None]
    assert (drawn[14 : 14 + 48, -14 - 48 : -14] == 255 - digit).all()
    assert (drawn[14 + 56 : 14 + 104, -14 - 48 : -14] == digit).all()


def test_scatter_plots_share_a_row_by_line(report_dir):
    for path in (report_dir / "samples").iterdir():
        Image.fromarray(strip(64, 1)).save(path)
    height = len(drawn_grid(report_dir))
    assert 6 * 64 < height < 7 * (64 + 40)  # six lines of one row each
