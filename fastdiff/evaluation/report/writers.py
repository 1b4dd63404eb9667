"""The files of a report: Markdown, an HTML page, LaTeX and CSV, with the pictures, next to the rows."""

import io
import json
from collections.abc import Iterable
from csv import DictWriter
from pathlib import Path
from urllib.parse import quote

from ...core.errors import FastdiffError
from ...core.files import atomic_write, read_json
from ...io.licences import limits
from ..judge import answers, results
from ..judge import markdown as judgement
from ..rows import read_rows
from ..summary import metrics_of, reference, summary, usual
from .tables import LEFT_COLUMNS, Column, by_steps, columns, compared, costs, lines, training
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
    """Write every view of a run's rows.

    Args:
        run_dir: the run's folder, with bench.jsonl; the views are written next to it. Without samples there
            is no grid.
        extras: keys of EXTRAS to write too.

    Returns:
        The paths of the files.

    Raises:
        FastdiffError: if there are no rows, or damaged ones.
    """
    from .grid import grid  # matplotlib: the table alone does without it
    from .page import html
    from .plots import quality
    from .ranking import ranking
    from .significance import differences

    run_dir = Path(run_dir)
    rows = read_rows(run_dir / "bench.jsonl")
    if not rows:
        raise FastdiffError(
            f"no rows in {run_dir / 'bench.jsonl'}: run `fastdiff bench` or `fastdiff run` first"
        )
    groups = summary(rows)
    metrics = metrics_of(rows)
    metric = metrics[0]
    pairs = differences(rows, run_dir)
    aim = reference(groups, metric, usual(groups))
    files = {}
    for name in QUALITY:
        cost, form = name.removeprefix("quality-").split(".")
        files[name] = quality(groups, metric, cost, aim, form)
    files["ranking.png"] = ranking(groups, metric, aim)
    if samples := grid(groups, metric, run_dir / "samples"):
        files["grid.png"] = samples
    shown = [name for name in metrics if name != "nll"]  # a model's figure, not a cell's
    page = html(
        run_dir,
        groups,
        shown,
        verdict(groups, metric),
        notes(groups, metrics),
        _all_warnings(groups, metric, run_dir),
        training(groups),
        pairs,
        provenance(rows),
    )
    texts = {"report.html": page}
    for name in extras:
        texts[name] = EXTRAS[name](rows)
    written = [_replace(run_dir / name, data) for name, data in files.items()]
    texts["report.md"] = markdown(rows, run_dir, pairs)  # links the pictures, which exist by now
    return written + [_replace(run_dir / name, text.encode()) for name, text in texts.items()]


def markdown(rows: list[dict], run_dir: str | Path, differences: Iterable[dict] = ()) -> str:
    """Return report.md.

    Args:
        rows: those of bench.jsonl.
        run_dir: the run's folder, whose pictures have relative links.
        differences: those of `significance.differences`.
    """
    run_dir = Path(run_dir)
    differences = list(differences)
    groups = summary(rows)
    metrics = metrics_of(rows)
    parts = [
        f"# {run_dir.resolve().name}",
        verdict(groups, metrics[0]),
        *(f"> **Warning.** {line}" for line in _all_warnings(groups, metrics[0], run_dir)),
        f"## {metrics[0]} by steps",
        _steps(groups, metrics[0]),
        "## All figures",
        _grid(groups, columns(groups, metrics)),
        "\n".join(f"- {note}" for note in notes(groups, metrics)),
    ]
    if differences:
        parts += [
            "## Differences",
            "Each against the best (B) at its steps and n, chosen by the same samples, which flatters it a "
            "little. The interval is a bootstrap over pairs of samples from the same noise, and over the "
            "reference; told apart: 0 lies outside.",
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
        *(f"![{path.stem}]({_link(path, run_dir)})" for path in _pictures(groups, run_dir)),
        "## What made these figures",
        "\n".join(f"- {name}: {value}" for name, value in provenance(rows).items()),
    ]
    return "\n\n".join(parts) + "\n"


def figures(run_dir: str | Path, model: str) -> str:
    """Return one model's rows as a Markdown table with their provenance; "" if there are none."""
    rows = read_rows(Path(run_dir) / "bench.jsonl")
    own = [row for row in rows if row.get("model") == model]
    if not own:
        return ""
    groups = [group for group in summary(rows) if group["model"] == model]
    made = "; ".join(f"{name} {value}" for name, value in provenance(own).items())
    return f"{_grid(groups, columns(groups, metrics_of(rows)))}\n\n{made}."


def latex(rows: list[dict]) -> str:
    """Return the table for a paper: a tabular that needs booktabs, bests in bold."""
    groups = summary(rows)
    metrics = metrics_of(rows)
    shown = [column for column in columns(groups, metrics) if column.head not in ("n", "seeds")]
    facts = provenance(rows)
    made = "; ".join(f"{name} {facts[name]}" for name in facts if name in ("extractor", "n", "seed"))
    texts = lines(groups, shown, _tex, r"\textbf{{{}}}".format)
    body = []
    for before, group, line in zip([groups[0], *groups], groups, texts):
        if group["family"] != before["family"]:
            body.append(r"\midrule")
        body.append(" & ".join(line) + r" \\")
    all_lines = [
        rf"% needs \usepackage{{booktabs}}; {made}",
        rf"\begin{{tabular}}{{{''.join(map(_aligned, shown))}}}",
        r"\toprule",
        " & ".join(_tex(column.head) for column in shown) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(all_lines) + "\n"


def csv(rows: list[dict]) -> str:
    """Return all rows as CSV, under every key that one of them has; lists and dicts as JSON."""
    file = io.StringIO()
    writer = DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()})
    return file.getvalue()


EXTRAS = {"report.tex": latex, "bench.csv": csv}


def left_out(run_dir: str | Path) -> list[str]:
    """Return the cells that a sweep's time budget left out, as one line or none."""
    path = Path(run_dir) / "left-out.json"
    try:
        missing = list(map(str, read_json(path))) if path.exists() else []
    except (ValueError, TypeError):
        missing = [f"what {path} does not tell, being damaged"]
    return [f"Left out, the time budget being spent: {', '.join(missing)}."] if missing else []


def _all_warnings(groups: list[dict], metric: str, run_dir: Path) -> list[str]:
    """Return the warnings about the figures, the sweep, and the licences."""
    return warnings(groups, metric) + left_out(run_dir) + limits(run_dir)


def _link(path: Path, run_dir: Path) -> str:
    """Return the relative link to a file of the run."""
    return quote(path.relative_to(run_dir).as_posix())


def _pictures(groups: list[dict], run_dir: Path) -> list[Path]:
    """Return the plots, the grid, and the trajectories kept for these cells, as far as they exist."""
    names = [*(name for name in PLOTS if name.endswith(".png")), "grid.png"]
    trajectories = dict.fromkeys(run_dir / "trajectory" / f"{group.get('cell')}.png" for group in groups)
    return [path for path in (*(run_dir / name for name in names), *trajectories) if path.exists()]


def _grid(groups: list[dict], shown: list[Column]) -> str:
    """Return groups as a Markdown table, bests in bold."""
    return _ruled([c.head for c in shown], lines(groups, shown, mark="**{}**".format))


def _steps(groups: list[dict], metric: str) -> str:
    """Return one figure by steps as a Markdown table, bests in bold."""
    heads, found = by_steps(groups)
    return _ruled(heads, [[name, *(_marked(g, metric) for g in by_line)] for name, by_line in found])


def _marked(group: dict | None, metric: str) -> str:
    """Return a group's figure, in bold if it is a best; "" for no group."""
    if group is None:
        return ""
    text = group["figures"][metric]
    return f"**{text}**" if metric in group["bests"] else text


def _ruled(heads: list[str], texts: list[list[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---" if head in LEFT_COLUMNS else "---:" for head in heads]
    texts = [[text.replace("|", r"\|") for text in line] for line in texts]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *texts))


def _tex(text: str) -> str:
    """Return a text with LaTeX's special characters escaped."""
    return text.translate(TEX)


def _aligned(column: Column) -> str:
    """Return LaTeX's letter for a column's alignment."""
    return "l" if column.head in LEFT_COLUMNS else "r"


def _replace(path: Path, data: bytes) -> Path:
    """Write bytes whole or not at all, and return the path."""
    with atomic_write(path, sync=False) as scratch:
        scratch.write_bytes(data)
    return path
