"""Tables of a report, by steps and in a terminal."""

import re
import subprocess
import sys

import pytest
from rich.console import Console

from fastdiff.evaluation import report
from fastdiff.evaluation.report.tables import by_steps, columns, print_table
from fastdiff.evaluation.rows import append_row
from fastdiff.evaluation.summary import summary
from tests.helpers.reported import plausible, rich, row


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


def shown(rows, width):
    console = Console(width=width, force_terminal=True, color_system="standard", record=True)
    console.print(report.table(rows, width))
    return console.export_text(styles=True)


def test_the_table_shows_best_in_green_and_differences_from_the_ddpm():
    text = shown(plausible(), 160)
    assert re.search(r"progressive-1.*\x1b\[1;32m24\.2 ± 0\.2\x1b\[0m.*\+20\.6 ± 0\.0", text)
    words = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())
    assert "≈ not distinguished; extractor digits; n = 512" in words and "costs 2 NFE" not in words
    guided = shown([r | {"guidance": 2.0} for r in plausible()], 160)
    assert "with classifier-free guidance a step costs 2 NFE" in " ".join(guided.split())


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
        "− DDPM",
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
        "− DDPM",
        "n",
        "seeds",
    ]


def test_the_caption_has_the_seeds_of_the_models_only():
    real = [row("real data, held out", "", 0, 0.5, seed) for seed in range(8)]
    assert report.table([*plausible(), *real], 200).caption.endswith("; seeds 0, 1, 2")


def test_the_table_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, fastdiff.evaluation.report; print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("width", [1, 10, 40, 200])
def test_a_narrow_terminal_cuts_no_figure(width, capsys):
    console = Console(width=width)
    print_table(report.table(plausible(), width), console)
    printed = capsys.readouterr().out
    assert "…" not in printed and "24.2 ± 0.2" in printed and "progressive-1" in printed
    assert console.width == width
