"""Files of a report: every view, Markdown, LaTeX, CSV."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation import report
from fastdiff.evaluation.report import writers as files
from fastdiff.evaluation.rows import append_row, read_rows
from tests.helpers.reported import rich, row, strip

# ---- views


def test_write_makes_every_view_and_leaves_no_drafts(report_dir):
    before = {path.name for path in report_dir.iterdir()}
    written = report.write(report_dir, ["report.tex", "bench.csv"])
    names = {"report.md", "report.html", "grid.png", "report.tex", "bench.csv", *files.PLOTS}
    assert {path.name for path in written} == names
    assert {path.name for path in report_dir.iterdir()} == before | names

    text = (report_dir / "report.md").read_text(encoding="utf-8")
    assert "| progressive-1 | ddim | 1 | 1 | **24.2 ± 0.2** | +20.6 ± 0.0 |" in text
    assert "| teacher | denoising | 412,233 | 1,000,000 | – | – |" in text
    assert "Fréchet distance upward" in text and "- versions: torch 2.15" in text
    assert all((report_dir / link).exists() for link in re.findall(r"!\[.*?\]\((.*?)\)", text))
    assert "Warning" not in text and "## Paired differences" not in text


def test_the_page_shows_what_the_report_says(report_dir):
    report.write(report_dir)
    page = (report_dir / "report.html").read_text(encoding="utf-8")
    assert (
        "digits &lt;&amp;&gt;" in page and "consistency, 4 steps: fd_digits 9.50 ± 0.25, the smallest" in page
    )


def test_markdown_has_all_metrics_costs_differences_and_warnings(report_dir):
    (report_dir / "bench.jsonl").unlink()
    for line in rich():
        append_row(report_dir / "bench.jsonl", line)
    (report_dir / "influence").mkdir()
    for line in rich():
        if line["steps"] == 1:
            terms = {"generated": np.full(9, line["kd_digits"], "f4"), "reference": np.zeros(5, "f4")}
            parts = {f"kd_digits.{side}": part for side, part in terms.items()}
            save_file(parts, report_dir / "influence" / f"{line['key']}.safetensors")
    (report_dir / "left-out.json").write_text(json.dumps(["teacher-ddpm-uniform-250 seed 0"]))
    (report_dir / "trajectory").mkdir()
    for cell in ("teacher-ddim-uniform-8", "of-no-row"):
        Image.fromarray(strip(8, 9)).save(report_dir / "trajectory" / f"{cell}.png")
    report.write(report_dir)
    text = (report_dir / "report.md").read_text(encoding="utf-8")
    assert (
        "| Model | Sampler | Steps | NFE | fd_digits ↓ | fd_digits n→∞ | kd ↓ | recall ↑ | − DDPM "
        "| ms/image |"
    ) in text
    assert (
        "| progressive-1 | ddim | 1 | 1 | **24.2 ± 0.2** | **23.0 ± 0.2** | **0.0242 ± 0.0002** | 0.500 ± "
        "0.000 ≈ | +19.6 ± 0.0 |"
    ) in text
    assert "| Model | Sampler | Steps | NFE | ms/image | Batch | GFLOPs/image | Parameters |" in text
    assert "| distilled | consistency | 8 | 8 | 3.20 | 256 | 20.0 | 412,233 |" in text
    assert "| Steps | A | B | kd_digits: A − B | 95 % interval | significant at 95 % |" in text
    assert "| 1 | distilled | progressive | +0.00690 | +0.00690 to +0.00690 | yes |" in text
    assert "> **Warning.** Skipped for lack of time (bench.budget): teacher-ddpm-uniform-250 seed 0." in text
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


# ---- pictures


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
