"""The report of a run: its rows as Markdown, an HTML page, LaTeX and CSV, with the pictures, written beside them."""

import io
import json
import os
from collections.abc import Iterable
from csv import DictWriter
from pathlib import Path
from urllib.parse import quote

from ...core.errors import FastdiffError
from ...core.files import read_json
from ...io.licences import limits
from ..judge import answers, results
from ..judge import markdown as judgement
from ..rows import read_rows
from ..summary import metrics_of, reference, summary, usual
from .tables import NAMES, Column, by_steps, columns, compared, costs, lines, training
from .text import notes, provenance, verdict, warnings

QUALITY = ("quality-nfe.png", "quality-seconds.png", "quality-nfe.svg", "quality-seconds.svg")
PLOTS = (*QUALITY, "ranking.png")
TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "_": r"\_",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "[": "{[}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
        "±": r"$\pm$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "→": r"$\to$",
        "∞": r"$\infty$",
        "–": "--",
    }
)


def write(run_dir: str | Path, extras: Iterable[str] = ()) -> list[Path]:
    """Write every view of `run_dir`/bench.jsonl beside it, with the `extras` of EXTRAS; returns their paths.

    There is no grid where no samples are kept.
    """
    from . import plots  # matplotlib: the table alone does without it
    from .page import html
    from .ranking import ranking
    from .significance import differences

    run_dir = Path(run_dir)
    rows = read_rows(run_dir / "bench.jsonl")
    if not rows:
        raise FastdiffError(
            f"no rows in {run_dir / 'bench.jsonl'}: run `fastdiff bench` or `fastdiff run` first"
        )
    groups, metrics = summary(rows), metrics_of(rows)
    metric, found = metrics[0], differences(rows, run_dir)
    aim = reference(groups, metric, usual(groups))
    files = {}
    for name in QUALITY:
        cost, form = name.removeprefix("quality-").split(".")
        files[name] = plots.quality(groups, metric, cost, aim, form)
    files["ranking.png"] = ranking(groups, metric, aim)
    if grid := plots.grid(groups, metric, run_dir / "samples"):
        files["grid.png"] = grid
    alerts = warnings(groups, metric) + left_out(run_dir) + limits(run_dir)
    shown = [name for name in metrics if name != "nll"]  # a model's figure, not a cell's
    page = html(
        run_dir,
        groups,
        shown,
        verdict(groups, metric),
        notes(groups, metrics),
        alerts,
        training(groups),
        found,
        provenance(rows),
    )
    texts = {"report.html": page} | {name: EXTRAS[name](rows) for name in extras}
    written = [_replace(run_dir / name, data) for name, data in files.items()]
    texts["report.md"] = markdown(rows, run_dir, found)  # links what is there by now
    return written + [_replace(run_dir / name, text.encode()) for name, text in texts.items()]


def markdown(rows: list[dict], run_dir: str | Path, differences: Iterable[dict] = ()) -> str:
    """report.md, with the pictures of `run_dir` by relative link and the pairs of `compare.differences`."""
    run_dir, differences = Path(run_dir), list(differences)
    groups, metrics = summary(rows), metrics_of(rows)
    parts = [
        f"# {run_dir.resolve().name}",
        verdict(groups, metrics[0]),
        *(
            f"> **Warning.** {text}"
            for text in warnings(groups, metrics[0]) + left_out(run_dir) + limits(run_dir)
        ),
        f"## {metrics[0]} by steps",
        _steps(groups, metrics[0]),
        "## All figures",
        _grid(groups, columns(groups, metrics)),
        "\n".join(f"- {note}" for note in notes(groups, metrics)),
    ]
    if differences:
        parts += [
            "## Differences",
            "Each against the best (B) at its steps and n, chosen by the same samples, which flatters it a little. The "
            "interval is a bootstrap over pairs of samples from the same noise, and over the reference; told apart: 0 lies "
            "outside.",
            _ruled(*compared(differences)),
        ]
    if judged := results(answers(run_dir)):
        parts += ["## Human judgement", judgement(judged).strip()]
    parts += [
        "## Sampling cost",
        _grid(groups, costs(groups)),
        "## Training cost",
        _ruled(*training(groups)),
        "## Pictures",
        *(
            f"![{path.stem}]({quote(path.relative_to(run_dir).as_posix())})"
            for path in _pictures(groups, run_dir)
        ),
        "## What made these figures",
        "\n".join(f"- {name}: {value}" for name, value in provenance(rows).items()),
    ]
    return "\n\n".join(parts) + "\n"


def figures(run_dir: str | Path, model: str) -> str:
    """One model's rows as a Markdown table with what made them, "" where there are none."""
    rows = read_rows(Path(run_dir) / "bench.jsonl")
    own = [row for row in rows if row.get("model") == model]
    if not own:
        return ""
    groups = [group for group in summary(rows) if group["model"] == model]
    made = "; ".join(f"{name} {value}" for name, value in provenance(own).items())
    return f"{_grid(groups, columns(groups, metrics_of(rows)))}\n\n{made}."


def latex(rows: list[dict]) -> str:
    """The table for a paper: a tabular that needs booktabs, bests in bold."""
    groups, metrics = summary(rows), metrics_of(rows)
    shown = [column for column in columns(groups, metrics) if column.head not in ("n", "seeds")]
    made = "; ".join(
        f"{name} {value}" for name, value in provenance(rows).items() if name in ("extractor", "n", "seed")
    )
    body = []
    for before, group, line in zip(
        [groups[0], *groups], groups, lines(groups, shown, _tex, r"\textbf{{{}}}".format)
    ):
        body += [r"\midrule"] if group["family"] != before["family"] else []
        body.append(" & ".join(line) + r" \\")
    return (
        "\n".join(
            [
                rf"% needs \usepackage{{booktabs}}; {made}",
                rf"\begin{{tabular}}{{{''.join(map(_aligned, shown))}}}",
                r"\toprule",
                " & ".join(_tex(column.head) for column in shown) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def csv(rows: list[dict]) -> str:
    """All rows, under every key that one of them has; lists and dicts as JSON."""
    file = io.StringIO()
    writer = DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()})
    return file.getvalue()


EXTRAS = {"report.tex": latex, "bench.csv": csv}


def left_out(run_dir: str | Path) -> list[str]:
    """What a sweep's time budget left out, as one line or none."""
    path = Path(run_dir) / "left-out.json"
    try:
        missing = list(map(str, read_json(path))) if path.exists() else []
    except (ValueError, TypeError):
        missing = [f"what {path} does not tell, being damaged"]
    return [f"Left out, the time budget being spent: {', '.join(missing)}."] if missing else []


def _pictures(groups, run_dir):
    """The plots, the grid, and the trajectories kept for these cells, where they exist."""
    names = [*(name for name in PLOTS if name.endswith(".png")), "grid.png"]
    trajectories = dict.fromkeys(run_dir / "trajectory" / f"{group.get('cell')}.png" for group in groups)
    return [path for path in (*(run_dir / name for name in names), *trajectories) if path.exists()]


def _grid(groups, shown: list[Column]):
    """Groups as a Markdown table, bests in bold."""
    return _ruled([c.head for c in shown], lines(groups, shown, mark="**{}**".format))


def _steps(groups, metric):
    """One figure by steps, bests in bold."""
    heads, found = by_steps(groups)
    mark = {True: "**{}**", False: "{}"}
    return _ruled(
        heads,
        [
            [name, *(mark[metric in g["bests"]].format(g["figures"][metric]) if g else "" for g in those)]
            for name, those in found
        ],
    )


def _ruled(heads, texts):
    """A Markdown table."""
    rule = ["---" if head in NAMES else "---:" for head in heads]
    texts = [[text.replace("|", r"\|") for text in line] for line in texts]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *texts))


def _tex(text):
    return text.translate(TEX)


def _aligned(column):
    return "l" if column.head in NAMES else "r"


def _replace(path, data):
    """Write bytes whole or not at all."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(data)
    os.replace(draft, path)
    return path
