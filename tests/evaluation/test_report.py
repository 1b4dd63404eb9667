"""What a report says follows from its rows, and what it draws from them and the strips alone."""

import io
import json
import re
import statistics
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import save_file

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation import report
from fastdiff.evaluation.report import plots
from fastdiff.evaluation.report import writers as files
from fastdiff.evaluation.report.tables import by_steps, columns
from fastdiff.evaluation.report.text import notes, verdict, warnings
from fastdiff.evaluation.rows import append_row, read_rows
from fastdiff.evaluation.summary import figure, metric_of, summary

TEACHER = {
    "ddim": {50: 5.1, 8: 61.0, 4: 240.0, 2: 1210.0, 1: 3519.0},
    "ddpm": {1000: 3.5},
    "dpmpp_2m": {4: 118.0, 8: 9.0},
}
STUDENTS = {
    "consistency": {1: 38.0, 2: 14.0, 4: 9.4, 8: 8.8},
    "distilled": {1: 31.0, 2: 19.0, 4: 16.2, 8: 17.5},
}


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
    made = {
        "extractor": "digits",
        "reference": "9f3a",
        "device": "cpu",
        "processes": 1,
        "versions": {"torch": "2.15"},
    }
    what = {
        "key": f"{cell}-{seed}",
        "model": model,
        "method": method,
        "sampler": sampler,
        "steps": steps,
        "seed": seed,
    }
    return (
        what
        | fixed
        | made
        | {"fd_digits": value, "ms_per_image": 0.4 * steps, "cell": cell, "commit": "3f2c9ab"}
        | more
    )


def plausible(seeds=(0, 1, 2)):
    found = [("teacher", sampler, steps, v) for sampler, at in TEACHER.items() for steps, v in at.items()]
    found += [
        (f"progressive-{steps}", "ddim", steps, v) for steps, v in {8: 9.1, 4: 11.2, 2: 15.4, 1: 24.1}.items()
    ]
    found += [(model, "consistency", steps, v) for model, at in STUDENTS.items() for steps, v in at.items()]
    return [
        row(model, sampler, steps, v + 0.1 * seed, seed)
        for model, sampler, steps, v in found
        for seed in seeds
    ]


def test_one_figure_by_steps():
    """Progressive's models are one line; nothing is put beside a figure of another n."""
    groups = summary(plausible())
    heads, found = by_steps(groups)
    assert heads == ["Model", "1", "2", "4", "8", "50", "1000"]
    lines = dict(found)
    assert [*lines] == list(dict.fromkeys(group["line"] for group in groups)) and len(lines) == 6
    assert [group and group["model"] for group in lines["progressive"]] == [
        "progressive-1",
        "progressive-2",
        "progressive-4",
        "progressive-8",
        None,
        None,
    ]
    assert [group and group["steps"] for group in lines["teacher ddim"]] == [1, 2, 4, 8, 50, None]
    _, found = by_steps(summary([*plausible(), row("consistency", "consistency", 1, 30.0, n=1797)]))
    assert {name for name, _ in found} >= {"consistency consistency n=512", "consistency consistency n=1797"}


def test_report_by_steps(tmp_path):
    for line in plausible():
        append_row(tmp_path / "bench.jsonl", line)
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## fd_digits by steps\n\n| Model | 1 | 2 | 4 | 8 | 50 | 1000 |" in text
    assert "| progressive | **24.2 ± 0.2** | 15.5 ± 0.2 | 11.3 ± 0.2 | 9.20 ± 0.25 |  |  |" in text
    page = (tmp_path / "report.html").read_text()
    assert (
        page.count('<td class="number best" data-value="24.2">24.2 ± 0.2</td>') == 2
    )  # by steps and among all figures


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
    [group] = [
        g for g in groups if (g["model"], g["steps"]) == (model, steps) and sampler in (None, g["sampler"])
    ]
    return group


# ---- summary --------------------------------------------------------------------------------------------------------


def test_seeds_become_mean_and_interval():
    [group] = summary(
        [row("consistency", "consistency", 2, v, seed) for seed, v in enumerate((10.0, 13.0, 19.0))]
    )
    assert group["seeds"] == [0, 1, 2]
    assert group["fd_digits"] == 14.0
    assert group["fd_digits_std"] == pytest.approx(statistics.stdev((10, 13, 19)))
    assert group["figure"] == "14.0 ± 11.4"  # 4.30 times the standard error
    assert summary([row("consistency", "consistency", 2, 10.0)])[0]["figure"] == "10.0"


def test_teachers_come_first_then_students_by_nfe():
    order = [(g["line"], g["steps"]) for g in summary(plausible())]
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
    groups = summary(rows)
    assert find(groups, "progressive-1", 1)["gain"] == pytest.approx(3519 / 24.1)
    assert find(groups, "teacher", 4, "dpmpp_2m")["gain"] is None
    assert find(groups, "consistency", 16)["gain"] is None
    assert [g["gain"] for g in groups if g["n"] == 2000] == [None]


def test_best_is_the_lowest_of_several_at_equal_steps_and_n():
    groups = summary(plausible(seeds=(0,)) + [row("consistency", "consistency", 1, 20.0, n=2000)])
    assert {(g["model"], g["steps"]) for g in groups if g["best"]} == {
        ("progressive-1", 1),
        *[("consistency", steps) for steps in (2, 4, 8)],
    }


def test_rows_of_a_former_generation_are_left_out():
    old = [
        row("distilled", "consistency", 1, 90.0, seed, weights="old", key=f"old-{seed}") for seed in (0, 1, 2)
    ]
    new = [row("distilled", "consistency", 1, 30.0, seed, weights="new") for seed in (0, 1)]
    [group] = summary([*old, *new])
    assert (group["fd_digits"], group["seeds"]) == (30.0, [0, 1])


def test_what_tells_kin_apart_is_named():
    rows = [
        row("teacher", "heun", 4, 50.0),
        row("teacher", "heun", 4, 40.0, spacing="karras"),
        row("teacher", "ddim", 4, 60.0),
    ]
    rows += [row("distilled", "consistency", 4, 20.0), row("distilled", "consistency", 4, 18.0, guidance=2.0)]
    lines = [g["line"] for g in summary(rows)]
    assert sorted(lines) == [
        "distilled consistency",
        "distilled consistency w=2",
        "teacher ddim",
        "teacher heun karras",
        "teacher heun uniform",
    ]


def test_fid_goes_before_features_of_ones_own_and_energy_last():
    assert metric_of([{"energy": 1.0}, {"fd_b": 1.0, "fid": 2.0}]) == "fid"
    assert metric_of([{"energy": 1.0, "fd_b": 1.0, "fid": None}]) == "fd_b"
    assert metric_of([{"energy": 1.0}]) == "energy"
    with pytest.raises(FastdiffError, match="no metric"):
        metric_of([{"model": "teacher"}])


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
        (1e-9, None, "1.00e-09"),
        (float("nan"), 1.0, "diverged"),
        (None, None, "–"),
    ],
)
def test_figures_read_to_three_digits(mean, std, text):
    assert figure(mean, std) == text


# ---- views ----------------------------------------------------------------------------------------------------------


def said(rows):
    return verdict(summary(rows), "fd_digits")


def test_the_verdict_sets_the_best_of_few_steps_against_the_teacher():
    assert said(plausible()) == (
        "consistency at 4 steps: fd_digits 9.50 ± 0.25, 2.6 x the 3.60 ± 0.25 of the teacher's DDPM-1000 at 1/250 of its "
        "time; the teacher's DDIM at 4 steps stands at 240."
    )


def test_the_verdict_takes_the_fewest_steps_of_what_is_as_good():
    rows = [
        row("distilled", "consistency", steps, value)
        for steps, value in ((1, 12.0), (2, 10.9), (4, 10.0), (8, 1.0))
    ]
    assert said(rows) == "distilled at 2 steps: fd_digits 10.9."
    assert said(rows[-1:]) == "distilled at 8 steps: fd_digits 1.00."
    assert (
        said([*rows, row("consistency", "consistency", 4, 50.0, n=2000)])
        == "consistency at 4 steps: fd_digits 50.0."
    )


def test_the_verdict_does_with_what_there_is():
    student = row("distilled", "consistency", 2, 20.0)
    solver = row("teacher", "heun", 4, 10.0, ms_per_image=0.4)
    assert said([student, solver]) == (
        "distilled at 2 steps: fd_digits 20.0, 2.0 x the 10.0 of the teacher's best, heun at 4 steps, at 2.0 x its time."
    )
    elsewhere = solver | {"device": "another"}  # times of two machines do not compare
    assert said([student, elsewhere]).endswith("of the teacher's best, heun at 4 steps.")
    assert "No student" in said([solver]) and "best is heun at 4 steps, fd_digits 10.0" in said([solver])
    assert "No finite" in said([row("distilled", "consistency", 2, float("nan"))])
    below = [row("distilled", "consistency", 2, -0.2), row("teacher", "ddpm", 9, 0.1, ms_per_image=None)]
    assert said(below) == "distilled at 2 steps: fd_digits -0.200, against the 0.100 of the teacher's DDPM-9."


def test_warnings_name_what_speaks_against_the_figures():
    def warned(rows):
        return warnings(summary(rows), "fd_digits")

    assert warned(plausible()) == []
    [few] = warned([r | {"dims": 2048, "extractor": "inception"} for r in plausible()])
    assert few == (
        "n = 512 is below the 2048 dimensions of inception: the covariance is singular and the figure is mostly "
        "bias."
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
    assert warned(rows) == ["distilled at 2 steps made values that are not finite: sample 17 of seed 1."]


def test_the_interval_is_explained_where_there_is_one():
    def noted(rows):
        return "\n".join(notes(summary(rows), ["fd_digits"]))

    assert "95 % t-interval over seeds, disjoint sets of samples; it does not contain the" in noted(
        plausible()
    )
    assert "±" not in noted(plausible(seeds=(0,)))


def rich(seeds=(0, 1, 2)):
    """Rows with metrics and costs beyond the main ones."""
    costs = {"batch": 256, "kd_digits_se": 1e-4}
    return [
        r
        | costs
        | {
            "kd_digits": r["fd_digits"] / 1000,
            "recall_digits": 1 / (1 + r["steps"]),
            "fd_digits_inf": 0.95 * r["fd_digits"],
            "flops_per_image": 2.5e9 * r["steps"],
        }
        for r in plausible(seeds)
    ]


def shown(rows, width):
    console = Console(width=width, force_terminal=True, color_system="standard", record=True)
    console.print(report.table(rows, width))
    return console.export_text(styles=True)


def test_the_table_shows_best_in_green_and_gain_of_students():
    text = shown(plausible(), 160)
    assert re.search(r"progressive-1.*\x1b\[1;32m24\.2 ± 0\.2\x1b\[0m.*145x", text)
    assert "extractor digits; n = 512" in text and "a guided step counts two" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_the_table_fills_the_terminal_and_cuts_nothing(width):
    text = re.sub(r"\x1b\[[\d;]*m", "", shown(rich(), width))
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    heads = [head.strip() for head in text.splitlines()[1].strip("┃").split("┃")]
    every = [
        "Model",
        "Sampler",
        "Steps",
        "NFE",
        "fd_digits ↓",
        "fd_digits n→∞",
        "kd ↓",
        "recall ↑",
        "vs DDIM",
        "ms/image",
    ]
    assert heads == [head for head in every if head in heads]
    assert set(heads) >= {"Model", "Sampler", "Steps", "fd_digits ↓"} and len(heads) == {60: 4, 80: 6}.get(
        width, len(heads)
    )
    assert width < 160 or heads == every


def test_columns_that_say_nothing_are_left_out():
    rows = [r | {"nfe": None, "ms_per_image": None} for r in plausible() if r["model"] == "teacher"]
    assert [column.head for column in columns(summary(rows), ["fd_digits"])] == [
        "Model",
        "Sampler",
        "Steps",
        "fd_digits ↓",
        "n",
        "seeds",
    ]


def test_the_table_needs_neither_torch_nor_matplotlib():
    code = "import sys, fastdiff.report; print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_write_makes_every_view_and_leaves_no_drafts(run_dir):
    before = {path.name for path in run_dir.iterdir()}
    written = report.write(run_dir, ["report.tex", "bench.csv"])
    names = {"report.md", "report.html", "grid.png", "report.tex", "bench.csv", *files.PLOTS}
    assert {path.name for path in written} == names
    assert {path.name for path in run_dir.iterdir()} == before | names

    text = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "| progressive-1 | ddim | 1 | 1 | **24.2 ± 0.2** | 145x |" in text
    assert "| teacher | denoising | 412,233 | 1,000,000 | – | – |" in text
    assert "Fréchet distance upward" in text and "- versions: torch 2.15" in text
    assert all((run_dir / link).exists() for link in re.findall(r"!\[.*?\]\((.*?)\)", text))
    assert "Warning" not in text and "## Differences" not in text


def test_the_page_shows_what_the_report_says(run_dir):
    report.write(run_dir)
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "digits &lt;&amp;&gt;" in page and "consistency at 4 steps: fd_digits 9.50 ± 0.25" in page


def test_markdown_has_all_metrics_costs_differences_and_warnings(run_dir):
    (run_dir / "bench.jsonl").unlink()
    for line in rich():
        append_row(run_dir / "bench.jsonl", line)
    (run_dir / "influence").mkdir()
    for line in rich():
        if line["steps"] == 1:
            terms = {"generated": np.full(9, line["kd_digits"], "f4"), "reference": np.zeros(5, "f4")}
            parts = {f"kd_digits.{side}": part for side, part in terms.items()}
            save_file(parts, run_dir / "influence" / f"{line['key']}.safetensors")
    (run_dir / "left-out.json").write_text(json.dumps(["teacher-ddpm-uniform-250 seed 0"]))
    (run_dir / "trajectory").mkdir()
    for cell in ("teacher-ddim-uniform-8", "of-no-row"):
        Image.fromarray(strip(8, 9)).save(run_dir / "trajectory" / f"{cell}.png")
    report.write(run_dir)
    text = (run_dir / "report.md").read_text(encoding="utf-8")
    assert (
        "| Model | Sampler | Steps | NFE | fd_digits ↓ | fd_digits n→∞ | kd ↓ | recall ↑ | vs DDIM | ms/image |"
        in text
    )
    assert (
        "| progressive-1 | ddim | 1 | 1 | **24.2 ± 0.2** | 23.0 | **0.0242 ± 0.0002** | 0.500 ± 0.000 | 145x |"
        in text
    )
    assert "| Model | Sampler | Steps | NFE | ms/image | Batch | GFLOPs/image | Parameters |" in text
    assert "| distilled | consistency | 8 | 8 | 3.20 | 256 | 20.0 | 412,233 |" in text
    assert "| Steps | A | B | kd_digits: A − B | 95 % interval | told apart |" in text
    assert "| 1 | distilled | progressive | +0.0069 | +0.0069 to +0.0069 | yes |" in text
    assert "> **Warning.** Left out, the time budget being spent: teacher-ddpm-uniform-250 seed 0." in text
    assert "(trajectory/teacher-ddim-uniform-8.png)" in text and "of-no-row" not in text


def test_latex_is_a_tabular_of_booktabs():
    lines = report.latex(
        [r | {"model": "a_b & 50 %\\"} if r["model"] == "distilled" else r for r in rich()]
    ).splitlines()
    assert lines[0].startswith("% needs \\usepackage{booktabs}; extractor digits; n 512; seed 0, 1, 2")
    assert lines[1] == "\\begin{tabular}{llrrrrrrrr}" and lines[-1] == "\\end{tabular}"
    assert lines[3].startswith(
        "Model & Sampler & Steps & NFE & fd\\_digits $\\downarrow$ & fd\\_digits n$\\to$$\\infty$"
    )
    assert "recall $\\uparrow$" in lines[3]
    body = [line for line in lines[5:-2] if line != "\\midrule"]
    assert len(body) == 20 and all(
        len(re.findall(r"(?<!\\)&", line)) == 9 and line.endswith(r" \\") for line in body
    )
    assert any(line.startswith(r"a\_b \& 50 \%\textbackslash{} & consistency & 1 &") for line in body)
    assert any(r"& \textbf{24.2 $\pm$ 0.2} &" in line for line in body)
    assert lines.count("\\midrule") == 1 + 3  # under the headings, and between families
    assert re.sub(r"[\x00-\x7f]", "", "".join(lines)) == ""


def test_csv_comes_back_whole():
    pandas = pytest.importorskip("pandas")
    rows = [*rich(), row("new", 'ddim, "x"', 1, float("inf"), broken=[3], note="line\nbreak")]
    table = pandas.read_csv(io.StringIO(report.csv(rows)), float_precision="round_trip")
    assert list(table.columns) == list(dict.fromkeys(name for r in rows for name in r))
    for name in ("model", "steps", "fd_digits", "flops_per_image", "n"):
        values = [r.get(name) for r in rows]
        assert [None if pandas.isna(v) else v for v in table[name]] == values
    assert [json.loads(text) for text in table["versions"]] == [r["versions"] for r in rows]
    last = table.iloc[-1]
    assert (last["sampler"], json.loads(last["broken"]), last["note"]) == ('ddim, "x"', [3], "line\nbreak")


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_pictures_are_functions_of_the_rows(run_dir):
    report.write(run_dir)
    first = {name: (run_dir / name).read_bytes() for name in files.PLOTS}
    report.write(run_dir)
    assert all((run_dir / name).read_bytes() == data for name, data in first.items())
    assert all(
        ElementTree.fromstring(data).tag.endswith("svg")
        for name, data in first.items()
        if name.endswith("svg")
    )
    assert Image.open(run_dir / "quality-nfe.png").size == (1056, 864)


def test_the_front_is_what_nothing_beats_in_both():
    points = [(1, 9.0), (1, 8.0), (2, 8.0), (2, 12.0), (4, 3.0), (8, 3.5), (50, 1.0)]
    assert plots._front(points) == [(1, 8.0), (4, 3.0), (50, 1.0)]


def drawn_grid(run_dir):
    groups = summary(read_rows(run_dir / "bench.jsonl"))
    return np.asarray(Image.open(io.BytesIO(plots.grid(groups, "fd_digits", run_dir / "samples"))))


def test_the_grid_enlarges_strips_by_whole_pixels(run_dir):
    grid = drawn_grid(run_dir)
    digit = np.repeat(
        np.repeat(strip(8, 16)[:, -8:], 6, 0), 6, 1
    )  # the last image of the first strip, flush right
    assert (grid[14 : 14 + 48, -14 - 48 : -14] == digit[..., None]).all()
    assert grid.shape[0] == 2 * 14 + 20 * 48 + 19 * 8  # a strip for each of twenty cells


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_grid_takes_the_first_row_of_sheets_and_real_data_on_top(run_dir, rows):
    sheet = np.concatenate([strip(8, 16), *[np.zeros((8, 128), np.uint8)] * (rows - 1)])
    for path in (run_dir / "samples").iterdir():
        Image.fromarray(sheet).save(path)
    Image.fromarray(255 - sheet).save(run_dir / "samples" / "real.png")
    grid = drawn_grid(run_dir)
    assert grid.shape[0] == 2 * 14 + 21 * 48 + 20 * 8
    digit = np.repeat(np.repeat(strip(8, 16)[:, -8:], 6, 0), 6, 1)[..., None]
    assert (grid[14 : 14 + 48, -14 - 48 : -14] == 255 - digit).all()
    assert (grid[14 + 56 : 14 + 104, -14 - 48 : -14] == digit).all()


def test_scatter_plots_share_a_row_by_line(run_dir):
    for path in (run_dir / "samples").iterdir():
        Image.fromarray(strip(64, 1)).save(path)
    height = len(drawn_grid(run_dir))
    assert 6 * 64 < height < 7 * (64 + 40)  # six lines of one row each


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, 0.0, -0.25])
def test_figures_that_cannot_be_drawn_do_not_stop_the_report(tmp_path, value):
    broken = {"broken": [3]} if value in (float("inf"),) else {}
    rows = [
        row("teacher", "ddim", 1, value, **broken),
        row("teacher", "ddpm", 9, value, **broken),
        row("distilled", "consistency", 1, value, **broken),
        row("distilled", "ddim", 1, 0.0),
    ]
    for line in rows:
        append_row(tmp_path / "bench.jsonl", line)
    assert {path.name for path in report.write(tmp_path)} == {"report.md", "report.html", *files.PLOTS}
    shown = {0.0: "0", -0.25: "-0.250", float("inf"): "diverged"}.get(value, "–")
    text = (tmp_path / "report.md").read_text(encoding="utf-8").replace("**", "")
    assert f"| teacher | ddim | 1 | 1 | {shown} |" in text


def test_without_rows_the_error_says_what_to_run(tmp_path):
    with pytest.raises(
        FastdiffError, match=r"no rows in .*bench\.jsonl: run `fastdiff bench` or `fastdiff run` first"
    ):
        report.write(tmp_path)
    assert read_rows(tmp_path / "bench.jsonl") == [] and not list(tmp_path.iterdir())
