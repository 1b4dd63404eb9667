"""Writers of a report: Markdown, an HTML page, LaTeX, CSV and pictures, next to the rows."""

import io
import json
from collections.abc import Iterable
from csv import DictWriter
from pathlib import Path
from urllib.parse import quote

from ...core.errors import FastdiffError
from ...core.files import atomic_write, read_json
from ...io.licences import limits
from ..comparison import figure_name, reference, usual
from ..judge import answers, results
from ..judge import markdown as judgement
from ..metric_names import family
from ..rows import read_rows
from ..summary import metrics_of, real_groups, summary, usual_real
from .tables import (
    LEFT_COLUMNS,
    Column,
    columns,
    compared,
    costs,
    differences,
    lines,
    steps_texts,
    training,
)
from .text import notes, provenance, verdict, warnings

QUALITY = ("quality-nfe.png", "quality-seconds.png", "quality-nfe.svg", "quality-seconds.svg")
PLOTS = (*QUALITY, "ranking.png")
BOLD = "**{}**".format  # marks the best values in Markdown
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
        "≈": r"$\approx$",
        "−": r"$-$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "→": r"$\to$",
        "∞": r"$\infty$",
        "–": "--",
    }
)


def write(run_dir: str | Path, extras: Iterable[str] = ()) -> list[Path]:
    """Write the report of a run: report.md, report.html and pictures.

    Args:
        run_dir: folder of the run, with bench.jsonl; the files are written next to it. Without samples the
            grid is left out.
        extras: further files to write, keys of EXTRAS: report.tex, bench.csv.

    Returns:
        The paths of the files.

    Raises:
        FastdiffError: if rows are missing or damaged.
    """
    from .grid import grid  # imports matplotlib, which the table does not need
    from .page import html
    from .plots import quality
    from .ranking import ranking
    from .significance import differences as paired_differences

    run_dir = Path(run_dir)
    rows = read_rows(run_dir / "bench.jsonl")
    if not rows:
        raise FastdiffError(
            f"no rows in {run_dir / 'bench.jsonl'}: run `fastdiff bench` or `fastdiff run` first"
        )
    groups = summary(rows)
    metrics = metrics_of(rows)
    metric = metrics[0]
    reals = real_groups(rows, groups, metrics)
    pairs = paired_differences(rows, run_dir)
    aim = reference(groups, metric, usual(groups))
    real = usual_real(reals, groups)
    files = {}
    for name in QUALITY:
        cost, form = name.removeprefix("quality-").split(".")
        files[name] = quality(groups, metric, cost, aim, form, real)
    files["ranking.png"] = ranking(groups, metric, aim, real)
    if samples := grid(groups, metric, run_dir / "samples"):
        files["grid.png"] = samples
    shown = [name for name in metrics if family(name) != "nll"]  # a property of the model, not of the cell
    page = html(
        run_dir,
        groups,
        shown,
        verdict(groups, metric, real),
        notes(groups, metrics, reals),
        _all_warnings(groups, metric, run_dir),
        training(groups),
        differences(groups, metric),
        pairs,
        provenance(rows),
        reals,
    )
    texts = {"report.html": page}
    for name in extras:
        texts[name] = EXTRAS[name](rows)
    written = [_replace(run_dir / name, data) for name, data in files.items()]
    texts["report.md"] = markdown(rows, run_dir, pairs)  # written last: it links the pictures that exist
    return written + [_replace(run_dir / name, text.encode()) for name, text in texts.items()]


def markdown(rows: list[dict], run_dir: str | Path, pairs: Iterable[dict] = ()) -> str:
    """Return the text of report.md.

    Args:
        rows: rows of bench.jsonl.
        run_dir: folder of the run, for relative links to its pictures.
        pairs: paired differences of kernel distances from `significance.differences`.
    """
    run_dir = Path(run_dir)
    pairs = list(pairs)
    groups = summary(rows)
    metrics = metrics_of(rows)
    metric = metrics[0]
    reals = real_groups(rows, groups, metrics)
    real = usual_real(reals, groups)
    name = figure_name(groups, metric)
    heads = {name: f"{metric} n→∞ by steps"} if name != metric else {}
    parts = [
        f"# {run_dir.resolve().name}",
        verdict(groups, metric, real),
        *(f"> **Warning.** {line}" for line in _all_warnings(groups, metric, run_dir)),
    ]
    for key, head in (heads | {metric: f"{metric} by steps"}).items():
        parts += [f"## {head}", _ruled(*steps_texts(groups, key, real, BOLD))]
    if any(group["differences"] for group in groups):
        parts += [f"## Differences of {metric}", _ruled(*differences(groups, metric))]
    parts += [
        "## All figures",
        _grid([*reals, *groups], columns([*reals, *groups], metrics)),
        "\n".join(f"- {note}" for note in notes(groups, metrics, reals)),
    ]
    if pairs:
        parts += [
            "## Paired differences of kernel distances",
            "Each model (A) minus the best (B) at equal steps and n. B was chosen by the same samples, which "
            "favours it slightly. The interval is a bootstrap over pairs of samples from the same noise, and "
            "over the reference; a difference is significant at 95 % if 0 lies outside the interval.",
            _ruled(*compared(pairs)),
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
        "## Provenance",
        "\n".join(f"- {name}: {value}" for name, value in provenance(rows).items()),
    ]
    return "\n\n".join(parts) + "\n"


def figures(run_dir: str | Path, model: str) -> str:
    """Return the rows of one model as a Markdown table with their provenance; "" without rows."""
    rows = read_rows(Path(run_dir) / "bench.jsonl")
    own = [row for row in rows if row.get("model") == model]
    if not own:
        return ""
    metrics = metrics_of(rows)
    groups = [group for group in summary(rows) if group["model"] == model]
    shown = [*real_groups(rows, groups, metrics), *groups]
    made = "; ".join(f"{name} {value}" for name, value in provenance(own).items())
    return f"{_grid(shown, columns(shown, metrics))}\n\n{made}."


def latex(rows: list[dict]) -> str:
    """Return the table for a paper: a LaTeX tabular that needs booktabs, best values in bold."""
    groups = summary(rows)
    metrics = metrics_of(rows)
    groups = [*real_groups(rows, groups, metrics), *groups]
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
    """Return all rows as CSV with a column for every key; lists and dicts become JSON."""
    file = io.StringIO()
    writer = DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()})
    return file.getvalue()


EXTRAS = {"report.tex": latex, "bench.csv": csv}


def left_out(run_dir: str | Path) -> list[str]:
    """Return a line on the cells that the time budget of a sweep skipped; none without such cells."""
    path = Path(run_dir) / "left-out.json"
    try:
        missing = list(map(str, read_json(path))) if path.exists() else []
    except (ValueError, TypeError):
        missing = [f"unknown cells, since {path} is damaged"]
    return [f"Skipped for lack of time (bench.budget): {', '.join(missing)}."] if missing else []


def _all_warnings(groups: list[dict], metric: str, run_dir: Path) -> list[str]:
    """Return the warnings about figures, skipped cells and licences."""
    return warnings(groups, metric) + left_out(run_dir) + limits(run_dir)


def _link(path: Path, run_dir: Path) -> str:
    """Return the relative link to a file of a run."""
    return quote(path.relative_to(run_dir).as_posix())


def _pictures(groups: list[dict], run_dir: Path) -> list[Path]:
    """Return the paths of the plots, the grid and the trajectories of these cells, if they exist."""
    names = [*(name for name in PLOTS if name.endswith(".png")), "grid.png"]
    trajectories = dict.fromkeys(run_dir / "trajectory" / f"{group.get('cell')}.png" for group in groups)
    return [path for path in (*(run_dir / name for name in names), *trajectories) if path.exists()]


def _grid(groups: list[dict], shown: list[Column]) -> str:
    """Return groups as a Markdown table, best values in bold."""
    return _ruled([c.head for c in shown], lines(groups, shown, mark=BOLD))


def _ruled(heads: list[str], texts: list[list[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---" if head in LEFT_COLUMNS else "---:" for head in heads]
    texts = [[text.replace("|", r"\|") for text in line] for line in texts]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *texts))


def _tex(text: str) -> str:
    """Return a text with LaTeX's special characters escaped."""
    return text.translate(TEX)


def _aligned(column: Column) -> str:
    """Return the LaTeX letter of a column's alignment."""
    return "l" if column.head in LEFT_COLUMNS else "r"


def _replace(path: Path, data: bytes) -> Path:
    """Write bytes atomically, and return the path."""
    with atomic_write(path, sync=False) as scratch:
        scratch.write_bytes(data)
    return path
