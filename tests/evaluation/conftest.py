"""Fixtures of the evaluation: runs, models and a browser."""

import shutil

import pytest
import torch
from PIL import Image

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import open_dataset
from fastdiff.evaluation.rows import append_row
from fastdiff.networks import mlp
from tests.helpers.browser import Browser
from tests.helpers.judging import CELLS, sheet
from tests.helpers.report_pages import SIDE, sheets, written
from tests.helpers.report_pages import plausible as page_rows
from tests.helpers.reported import plausible, strip
from tests.helpers.swept import model as untrained
from tests.helpers.swept import stored


@pytest.fixture
def run_dir(tmp_path):
    for seed, (cell, (model, method, sampler, steps, fid)) in enumerate(CELLS.items()):
        append_row(
            tmp_path / "bench.jsonl",
            {
                "key": cell,
                "cell": cell,
                "model": model,
                "method": method,
                "sampler": sampler,
                "spacing": "uniform",
                "steps": steps,
                "nfe": steps,
                "guidance": 1.0,
                "seed": 0,
                "n": 32,
                "fid": fid,
                "ms_per_image": 1.0,
            },
        )
        sheet(tmp_path / "samples" / f"{cell}.png", seed=seed)
    sheet(tmp_path / "samples" / "real.png", seed=99)
    return tmp_path


@pytest.fixture
def report_dir(tmp_path):
    report_dir = tmp_path / "digits <&>"
    (report_dir / "samples").mkdir(parents=True)
    for line in plausible():
        append_row(report_dir / "bench.jsonl", line)
        Image.fromarray(strip(8, 16)).save(report_dir / "samples" / f"{line['cell']}.png")
    return report_dir


@pytest.fixture(scope="module")
def toy():
    return open_dataset("toy", n=50)


@pytest.fixture
def models(tmp_path):
    student = untrained(1, Sampling("ddim", "uniform", (2,), only=True))
    return {
        "teacher": stored(tmp_path / "run/teacher", untrained(), "denoising"),
        "halved": stored(tmp_path / "run/halved", student, "progressive"),
    }


@pytest.fixture(scope="module")
def points():
    torch.manual_seed(0)
    return Denoiser(mlp((2,), width=16, depth=1), Cosine(), "v", (2,))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip(
            "no chromium, chromium-browser or google-chrome on the path: the page is not tried in a browser"
        )
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.pipe.close()
    browser.process.terminate()
    browser.process.wait(30)


@pytest.fixture
def browser(chromium):
    """The tab, which must have nothing to complain of at the end."""
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture(scope="module")
def digits_page(tmp_path_factory):
    """A run of images: its page, and the pixels of its sheets."""
    run_dir = tmp_path_factory.mktemp("digits")
    pixels = sheets(run_dir, (4 * SIDE, 16 * SIDE))
    sheets(run_dir, (8 * SIDE, 4 * SIDE), "trajectory")
    return written(run_dir, page_rows())[0], pixels
