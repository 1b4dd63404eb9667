"""What a report says follows from its rows, and what it draws from them and the strips alone."""

import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fastdiff import report
from fastdiff.errors import FastdiffError
from fastdiff.rows import append_row, read_rows

TEACHER = {
    "ddim": {50: 5.1, 8: 61.0, 4: 240.0, 2: 1210.0, 1: 3519.0},
    "ddpm": {1000: 3.5},
    "dpmpp_2m": {4: 118.0, 8: 9.0},
}
STUDENTS = {"consistency": {1: 38.0, 2: 14.0, 4: 9.4, 8: 8.8}, "distilled": {1: 31.0, 2: 19.0, 4: 16.2, 8: 17.5}}


def row(model, sampler, steps, value, seed=0, **more):
    cell = f"{model}-{sampler}-uniform-{steps}"
    method = {"teacher": "denoising"}.get(model, model.split("-")[0])
    fixed = {
        "spacing": "uniform",
        "nfe": steps,
        "guidance": 1.0,
        "n": 512,
        "params": 412_233,
        "train_images": 1_000_000,
    }
    made = {"extractor": "digits", "reference": "9f3a", "device": "cpu", "processes": 1, "versions": {"torch": "2.15"}}
    what = {"key": f"{cell}-{seed}", "model": model, "method": method, "sampler": sampler, "steps": steps, "seed": seed}
    return (
        what
        | fixed
        | made
        | {"fd_digits": value, "ms_per_image": 0.4 * steps, "cell": cell, "commit": "3f2c9ab"}
        | more
    )


def plausible(seeds=(0, 1, 2)):
    found = [("teacher", sampler, steps, v) for sampler, at in TEACHER.items() for steps, v in at.items()]
    found += [(f"progressive-{steps}", "ddim", steps, v) for steps, v in {8: 9.1, 4: 11.2, 2: 15.4, 1: 24.1}.items()]
    found += [(model, "consistency", steps, v) for model, at in STUDENTS.items() for steps, v in at.items()]
    return [row(model, sampler, steps, v + 0.1 * seed, seed) for model, sampler, steps, v in found for seed in seeds]


def strip(side, images):
    return np.random.default_rng(0).integers(0, 256, (side, side * images), dtype=np.uint8)


@pytest.fixture
def run_dir(tmp_path):
    run_dir = tmp_path / "digits <&>"
    (run_dir / "samples").mkdir(parents=True)
    for line in plausible():
        append_row(run_dir / "bench.jsonl", line)
        Image.fromarray(strip(8, 16)).save(run_dir / "samples" / f"{line['cell']}.png")
    return run_dir


def find(groups, model, steps, sampler=None):
    [group] = [g for g in groups if (g["model"], g["steps"]) == (model, steps) and sampler in (None, g["sampler"])]
    return group


# ---- summary --------------------------------------------------------------------------------------------------------


def test_seeds_become_mean_and_sample_std():
    groups = report.summary(
        [row("consistency", "consistency", 2, v, seed) for seed, v in enumerate((10.0, 13.0, 19.0))]
    )
    assert len(groups) == 1 and groups[0]["seeds"] == [0, 1, 2]
    assert groups[0]["fd_digits"] == 14.0
    assert groups[0]["fd_digits_std"] == pytest.approx(statistics.stdev((10, 13, 19)))
    assert groups[0]["figure"] == "14.0 ± 4.6"
    assert report.summary([row("consistency", "consistency", 2, 10.0)])[0]["figure"] == "10.0"


def test_teachers_come_first_then_students_by_nfe():
    order = [(g["line"], g["steps"]) for g in report.summary(plausible())]
    assert order == [
        *[("teacher ddim", s) for s in (1, 2, 4, 8, 50)],
        ("teacher ddpm", 1000),
        *[("teacher dpmpp_2m", s) for s in (4, 8)],
        *[(line, s) for line in ("progressive", "consistency", "distilled") for s in (1, 2, 4, 8)],
    ]


def test_gain_is_against_ddim_at_the_same_steps_and_n():
    rows = plausible(seeds=(0,)) + [
        row("consistency", "consistency", 1, 20.0, n=2000),
        row("consistency", "consistency", 16, 8.0),
    ]
    groups = report.summary(rows)
    assert find(groups, "progressive-1", 1)["gain"] == pytest.approx(3519 / 24.1)
    assert find(groups, "teacher", 4, "dpmpp_2m")["gain"] is None
    assert find(groups, "consistency", 16)["gain"] is None
    assert [g["gain"] for g in groups if g["n"] == 2000] == [None]


def test_best_is_the_lowest_of_several_at_equal_steps_and_n():
    groups = report.summary(plausible(seeds=(0,)) + [row("consistency", "consistency", 1, 20.0, n=2000)])
    assert {(g["model"], g["steps"]) for g in groups if g["best"]} == {
        ("progressive-1", 1),
        *[("consistency", steps) for steps in (2, 4, 8)],
    }


def test_rows_of_a_former_generation_are_left_out():
    old = [row("distilled", "consistency", 1, 90.0, seed, weights="old", key=f"old-{seed}") for seed in (0, 1, 2)]
    new = [row("distilled", "consistency", 1, 30.0, seed, weights="new") for seed in (0, 1)]
    [group] = report.summary([*old, *new])
    assert (group["fd_digits"], group["seeds"]) == (30.0, [0, 1])


def test_what_tells_kin_apart_is_named():
    rows = [
        row("teacher", "heun", 4, 50.0),
        row("teacher", "heun", 4, 40.0, spacing="karras"),
        row("teacher", "ddim", 4, 60.0),
    ]
    rows += [row("distilled", "consistency", 4, 20.0), row("distilled", "consistency", 4, 18.0, guidance=2.0)]
    lines = [g["line"] for g in report.summary(rows)]
    assert sorted(lines) == [
        "distilled consistency",
        "distilled consistency w=2",
        "teacher ddim",
        "teacher heun karras",
        "teacher heun uniform",
    ]


def test_fid_goes_before_features_of_ones_own_and_energy_last():
    assert report.metric_of([{"energy": 1.0}, {"fd_b": 1.0, "fid": 2.0}]) == "fid"
    assert report.metric_of([{"energy": 1.0, "fd_b": 1.0, "fid": None}]) == "fd_b"
    assert report.metric_of([{"energy": 1.0}]) == "energy"
    with pytest.raises(FastdiffError, match="no metric"):
        report.metric_of([{"model": "teacher"}])


@pytest.mark.parametrize(
    "mean, std, text",
    [
        (24.13, 0.31, "24.1 ± 0.3"),
        (3.5, None, "3.50"),
        (9.996, None, "10.0"),
        (3519.4, 12.0, "3519 ± 12"),
        (24.2, 0.0999999, "24.2 ± 0.1"),
        (0.01234, 0.0004, "0.0123 ± 0.0004"),
        (-0.5, None, "-0.500"),
        (0, 0, "0 ± 0"),
        (1e-9, None, "0.000000"),
        (float("nan"), 1.0, "diverged"),
        (None, None, "–"),
    ],
)
def test_figures_read_to_three_digits(mean, std, text):
    assert report.figure(mean, std) == text


# ---- views ----------------------------------------------------------------------------------------------------------


def test_the_verdict_names_the_best_student_and_the_teacher():
    def said(rows):
        return report.verdict(report.summary(rows), "fd_digits")

    assert said(plausible(seeds=(0,))) == (
        "Best student at 1 step: progressive-1, fd_digits 24.1, 146 times better than the teacher's DDIM at 1 step; "
        "the teacher's own DDPM at 1000 steps stands at 3.50."
    )
    assert said([row("distilled", "consistency", 2, 20.0)]) == "Best student at 2 steps: distilled, fd_digits 20.0."
    worse = [row("distilled", "consistency", 2, 20.0), row("teacher", "ddim", 2, 10.0)]
    assert "2.0 times worse than the teacher's DDIM at 2 steps" in said(worse)
    assert "teacher's best is ddim at 2 steps, fd_digits 10.0" in said(worse[1:])
    assert "No finite" in said([row("distilled", "consistency", 2, float("nan"))])


def test_the_table_shows_best_in_green_and_gain_of_students():
    console = Console(width=160, force_terminal=True, color_system="standard", record=True)
    console.print(report.table(plausible()))
    text = console.export_text(styles=True)
    assert re.search(r"progressive-1.*\x1b\[1;32m24\.2 ± 0\.1\x1b\[0m.*145x", text)
    assert "extractor digits; n = 512" in text and "guidance counts double" in text


def test_the_table_needs_neither_torch_nor_matplotlib():
    code = "import sys, fastdiff.report; print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_write_makes_every_view_and_leaves_no_drafts(run_dir):
    before = {path.name for path in run_dir.iterdir()}
    written = report.write(run_dir)
    names = {"report.md", "report.html", "quality-nfe.png", "quality-seconds.png", "grid.png"}
    assert {path.name for path in written} == names
    assert {path.name for path in run_dir.iterdir()} == before | names

    text = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "| progressive-1 | ddim | 1 | 1 | **24.2 ± 0.1** | 145x |" in text
    assert "| teacher | denoising | 412,233 | 1,000,000 | – | – |" in text
    assert "Fréchet distance upward" in text and "- versions: torch 2.15" in text
    assert all((run_dir / link).exists() for link in re.findall(r"!\[.*?\]\((.*?)\)", text))


def test_the_page_is_whole_in_itself_and_escapes_what_it_shows(run_dir):
    (run_dir / "trajectory").mkdir()
    for cell in ("teacher-ddim-uniform-8", "of-no-row"):
        Image.fromarray(strip(8, 9)).save(run_dir / "trajectory" / f"{cell}.png")
    report.write(run_dir)
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "<h1>digits &lt;&amp;&gt;</h1>" in page
    assert "<script" not in page and "http" not in page and "<link" not in page
    sources = re.findall(r'src="(.*?)"', page)
    assert len(sources) == 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert page.count('class="best"') == 4


def test_the_grid_enlarges_strips_by_whole_pixels(run_dir):
    report.write(run_dir)
    grid = np.asarray(Image.open(run_dir / "grid.png"))
    digit = np.repeat(np.repeat(strip(8, 16)[:, -8:], 6, 0), 6, 1)  # the last image of the first strip, flush right
    assert (grid[14 : 14 + 48, -14 - 48 : -14] == digit[..., None]).all()
    assert grid.shape[0] == 2 * 14 + 20 * 48 + 19 * 8  # a strip for each of twenty cells


def test_scatter_plots_share_a_row_by_line(run_dir):
    for path in (run_dir / "samples").iterdir():
        Image.fromarray(strip(64, 1)).save(path)
    report.write(run_dir)
    height = Image.open(run_dir / "grid.png").height
    assert 6 * 64 < height < 7 * (64 + 40)  # six lines of one row each


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, 0.0, -0.25])
def test_figures_that_cannot_be_drawn_do_not_stop_the_report(tmp_path, value):
    rows = [
        row("teacher", "ddim", 1, value),
        row("teacher", "ddpm", 9, value),
        row("distilled", "consistency", 1, value),
        row("distilled", "ddim", 1, 0.0),
    ]
    for line in rows:
        append_row(tmp_path / "bench.jsonl", line)
    assert {path.name for path in report.write(tmp_path)} == {"report.md", "report.html", *report.PLOTS}
    shown = {None: "–", 0.0: "0", -0.25: "-0.250"}.get(value, "diverged")
    text = (tmp_path / "report.md").read_text(encoding="utf-8").replace("**", "")
    assert f"| teacher | ddim | 1 | 1 | {shown} |" in text


def test_without_rows_the_error_says_what_to_run(tmp_path):
    with pytest.raises(FastdiffError, match=r"no rows in .*bench\.jsonl: run `fastdiff bench` or `fastdiff run` first"):
        report.write(tmp_path)
    assert read_rows(tmp_path / "bench.jsonl") == [] and not list(tmp_path.iterdir())
