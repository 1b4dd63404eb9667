"""Views of benchmark rows: terminal table, Markdown and one HTML page. The pictures are drawn in plots.py."""

import base64
import os
from pathlib import Path
from statistics import mode

from rich.markup import escape
from rich.table import Table

from fastdiff.errors import FastdiffError
from fastdiff.rows import current_rows, figure, finite, metric_of, read_rows, reference, summary

PLOTS = ("quality-nfe.png", "quality-seconds.png")


def write(run_dir: str | Path) -> list[Path]:
    """Write every view of `run_dir`/bench.jsonl beside it and return their paths; no grid where no samples are kept."""
    from fastdiff import plots  # matplotlib: the table alone does without it

    run_dir = Path(run_dir)
    rows = read_rows(run_dir / "bench.jsonl")
    if not rows:
        raise FastdiffError(f"no rows in {run_dir / 'bench.jsonl'}: run `fastdiff bench` or `fastdiff run` first")
    groups, metric = summary(rows), metric_of(rows)
    aim = reference(groups, metric, mode(group["n"] for group in groups))
    pictures = {name: plots.quality(groups, metric, cost, aim) for name, cost in zip(PLOTS, ("nfe", "seconds"))}
    if grid := plots.grid(groups, metric, run_dir / "samples"):
        pictures["grid.png"] = grid
    written = [_replace(run_dir / name, picture) for name, picture in pictures.items()]
    for name, text in {"report.md": markdown(rows, run_dir), "report.html": html(rows, run_dir)}.items():
        written.append(_replace(run_dir / name, text.encode()))
    return written


def verdict(groups: list[dict], metric: str) -> str:
    """The report in one sentence: the best student at the fewest steps, against the teacher."""
    students = [group for group in groups if not group["teacher"] and finite(group[metric])]
    teachers = [group for group in groups if group["teacher"] and finite(group[metric])]
    if not students and not teachers:
        return f"No finite {metric} in these rows."
    if not students:
        best = min(teachers, key=lambda g: g[metric])
        standing = f"{best['solver']} at {_steps(best)}, {metric} {figure(best[metric])}"
        return f"No student with a finite {metric}; the teacher's best is {standing}."
    best = min(students, key=lambda g: (g["steps"], -g["n"], g[metric]))
    text = f"Best student at {_steps(best)}: {best['model']}, {metric} {figure(best[metric])}"
    if gain := best["gain"]:
        times = f"{_ratio(gain)} times better" if gain >= 1 else f"{_ratio(1 / gain)} times worse"
        text += f", {times} than the teacher's DDIM at {_steps(best)}"
    if ddpm := reference(groups, metric, best["n"]):
        text += f"; the teacher's own DDPM at {_steps(ddpm)} stands at {figure(ddpm[metric])}"
    return text + "."


# ---- views ----------------------------------------------------------------------------------------------------------


def headings(metric: str) -> list[str]:
    """The columns of the table."""
    return ["Model", "Sampler", "Steps", "NFE", metric, "vs teacher DDIM", "ms/image", "n", "seeds"]


def cells(group: dict, metric: str) -> list[str]:
    """One line of the table, under `headings`."""
    return [
        group["model"],
        group["solver"],
        str(group["steps"]),
        "–" if group["nfe"] is None else f"{group['nfe']:g}",
        group["figure"],
        "" if group["gain"] is None else f"{_ratio(group['gain'])}x",
        figure(group["ms_per_image"]),
        str(group["n"]),
        ", ".join(map(str, group["seeds"])),
    ]


def table(rows: list[dict]) -> Table:
    """The terminal's view: the best of each step count in bold green."""
    groups, metric = summary(rows), metric_of(rows)
    extractor, n, seeds = _listed(rows, "extractor") or "unnamed", _listed(rows, "n"), _listed(rows, "seed")
    view = Table(
        caption=f"{metric}: lower is better; extractor {extractor}; n = {n}; seeds {seeds}, ± over them; "
        "guidance counts double in NFE",
        header_style="bold",
    )
    names = headings(metric)[:-2]  # n and seeds are in the caption: the table fits 80 columns
    for name in names:
        text = name in ("Model", "Sampler")
        view.add_column(name, justify="left" if text else "right", no_wrap=text or name == metric)
    for group, following in zip(groups, [*groups[1:], None]):
        line = list(map(escape, cells(group, metric)))           # the brackets of a sampler's options are no markup
        line[4] = f"[bold green]{line[4]}[/]" if group["best"] else line[4]
        view.add_row(*line[: len(names)], end_section=following is not None and following["family"] != group["family"])
    return view


def costs(groups: list[dict]) -> tuple[list[str], list[list[str]]]:
    """What training each model took, and its likelihood where it was measured: headings and lines."""
    names = ("params", "train_images", "train_seconds", "teacher_nfe")
    models = {group["model"]: group for group in groups}
    bits = {group["model"]: f"{group['nll']:.3f}" for group in groups if group.get("nll") is not None}
    lines = [[model, g.get("method") or "–", *(_count(g.get(name)) for name in names), bits.get(model, "–")]
             for model, g in models.items()]
    return ["Model", "Method", "Parameters", "Images", "Seconds", "Teacher NFE", "NLL, bits/dim"], lines


def provenance(rows: list[dict]) -> dict[str, str]:
    """What made the figures."""
    names = ("extractor", "reference", "n", "seed", "ema", "device", "processes", "versions", "commit")
    facts = {name: _listed(current_rows(rows), name) for name in names}
    times = sorted(row["time"] for row in rows if row.get("time"))
    facts["time"] = " to ".join(dict.fromkeys((times[0], times[-1]))) if times else ""
    return {name: value for name, value in facts.items() if value}


def notes(groups: list[dict], metric: str) -> list[str]:
    """How to read the figures, and what they must not be compared with."""
    sizes = " and ".join(dict.fromkeys(str(group["n"]) for group in groups))
    bias = "A small n biases a Fréchet distance upward, so only figures of equal n, extractor and reference compare."
    return [
        f"Lower is better. Green or bold: the best at its number of steps, among rows of equal n (here n = {sizes}).",
        *([bias] if metric != "energy" else []),
        "± is the sample standard deviation over sampling seeds; it does not contain the spread between trainings.",
        "NFE is measured: network evaluations an image. A guided step counts two.",
        "“vs teacher DDIM” is the teacher's DDIM figure at the same number of steps, divided by the row's.",
    ]


def markdown(rows: list[dict], run_dir: str | Path) -> str:
    """report.md, with the pictures of `run_dir` by relative link."""
    run_dir = Path(run_dir)
    groups, metric = summary(rows), metric_of(rows)
    lines = [cells(group, metric) for group in groups]
    for group, line in zip(groups, lines):
        line[4] = f"**{line[4]}**" if group["best"] else line[4]
    parts = [
        f"# {run_dir.resolve().name}",
        verdict(groups, metric),
        _grid(headings(metric), lines),
        "\n".join(f"- {note}" for note in notes(groups, metric)),
        "## Training cost",
        _grid(*costs(groups)),
        "## Pictures",
        *(f"![{path.stem}]({path.relative_to(run_dir)})" for path in _pictures(groups, run_dir)),
        "## What made these figures",
        "\n".join(f"- {name}: {value}" for name, value in provenance(rows).items()),
    ]
    return "\n\n".join(parts) + "\n"


def html(rows: list[dict], run_dir: str | Path) -> str:
    """report.html: one page that holds its pictures, and needs no script and no network."""
    from jinja2 import Environment

    run_dir = Path(run_dir)
    groups, metric = summary(rows), metric_of(rows)
    pictures = {path: base64.b64encode(path.read_bytes()).decode() for path in _pictures(groups, run_dir)}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        title=run_dir.resolve().name,
        verdict=verdict(groups, metric),
        headings=headings(metric),
        lines=[(group, cells(group, metric)) for group in groups],
        plots=[data for path, data in pictures.items() if path.name in PLOTS],
        grid=pictures.get(run_dir / "grid.png"),
        trajectories={path.stem: data for path, data in pictures.items() if path.parent.name == "trajectory"},
        costs=costs(groups),
        provenance=provenance(rows),
        notes=notes(groups, metric),
    )


def _pictures(groups, run_dir):
    """What `write` drew, then the trajectories kept for these cells, where they exist."""
    trajectories = dict.fromkeys(run_dir / "trajectory" / f"{group.get('cell')}.png" for group in groups)
    return [path for path in (*(run_dir / name for name in (*PLOTS, "grid.png")), *trajectories) if path.exists()]


def _grid(heads, lines):
    """A Markdown table."""
    rule = ["---" if head in ("Model", "Sampler", "Method") else "---:" for head in heads]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def _replace(path, data):
    """Write bytes whole or not at all."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(data)
    os.replace(draft, path)
    return path


def _ratio(gain):
    return f"{gain:,.0f}" if gain >= 10 else f"{gain:.1f}" if gain >= 1 else f"{gain:.2g}"


def _steps(group):
    return f"{group['steps']} step{'s' * (group['steps'] != 1)}"


def _count(value):
    return "–" if value is None else f"{value:,.0f}"


def _listed(rows, name):
    """The distinct values that rows hold under a name, in order, as text."""
    values = [row[name] for row in rows if row.get(name) is not None]
    texts = [", ".join(f"{k} {v}" for k, v in v.items()) if isinstance(v, dict) else str(v) for v in values]
    return ("; " if name == "versions" else ", ").join(dict.fromkeys(texts))
