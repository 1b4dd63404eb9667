"""The grid of a report: whole pixels, first rows of sheets, and scatter plots in a row by line."""

import io

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.report import grid
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import summary
from tests.helpers.reported import strip


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


def test_without_sheets_there_is_no_grid(report_dir, tmp_path):
    groups = summary(read_rows(report_dir / "bench.jsonl"))
    assert grid.grid(groups, "fd_digits", tmp_path / "nowhere") is None
