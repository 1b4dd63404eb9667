"""Tables of a report: columns of text for groups of rows; the table for the terminal."""

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape as no_markup
from rich.table import Table

from ..comparison import EQUAL, reference, usual
from ..formatting import figure, finite, signed
from ..metric_names import better, family
from ..summary import guided, metrics_of, models_only, real_groups, summary

LEFT_COLUMNS = ("Model", "Sampler", "Method")  # headings of left-aligned columns
MAX_WIDTH = 10_000  # characters; wider than any table
EMPTY_TEXTS = ("", "–")
FIRST_COLUMNS = ("Model", "Sampler", "Steps")  # shown with the main metric even in the narrowest terminal
NEXT_COLUMNS = ("− DDPM", "ms/image", "NFE")  # the next to be shown, if they fit


class Column(NamedTuple):
    """A column of a table.

    Args:
        head: heading.
        text: function that returns the text of a group.
        metric: metric whose best values are marked in the column; None for other columns.
    """

    head: str
    text: Callable[[dict], str]
    metric: str | None = None


def columns(groups: list[dict], metrics: list[str]) -> list[Column]:
    """Return the columns of the benchmark's table, without those that are empty in all lines.

    Args:
        groups: groups from `summary`.
        metrics: names of metrics, the main one first.
    """
    candidates = [
        Column("Model", lambda g: g["model"]),
        Column("Sampler", lambda g: g["solver"]),
        Column("Steps", lambda g: "–" if g["steps"] is None else str(g["steps"])),
        Column("NFE", lambda g: "–" if g["nfe"] is None else f"{g['nfe']:g}"),
    ]
    kinds = [family(metric) for metric in metrics]
    for metric in metrics:
        # The only metric of a family is shown without its extractor, which is that of the main metric.
        name = metric if metric == metrics[0] or kinds.count(family(metric)) > 1 else family(metric)
        if family(metric) != "nll":  # a property of the model, not of the cell: see `training`
            arrow = "↓" if better(metric) == "lower" else "↑"
            candidates.append(Column(f"{name} {arrow}", lambda g, of=metric: g["figures"][of], metric))
            inf = f"{metric}_inf"
            candidates.append(Column(f"{name} n→∞", lambda g, of=inf: g["figures"].get(of, "–"), inf))
    candidates += [
        Column("− DDPM", lambda g: _difference(g, "ddpm")),
        Column("ms/image", lambda g: figure(g["ms_per_image"])),
        Column("n", lambda g: str(g["n"])),
        Column("seeds", lambda g: ", ".join(map(str, g["seeds"]))),
    ]
    return _filled(candidates, groups)


def costs(groups: list[dict]) -> list[Column]:
    """Return the columns of the costs per image, and of how they were measured."""
    names = {"Batch": "batch", "Images/s": "images_per_s", "Peak MB": "peak_mb", "Parameters": "params"}
    measured = [Column(head, lambda g, name=name: count(g.get(name))) for head, name in names.items()]
    flops = Column("GFLOPs/image", lambda g: figure(g["flops_per_image"] and g["flops_per_image"] / 1e9))
    own = [column for column in columns(groups, []) if column.head in (*FIRST_COLUMNS, "NFE", "ms/image")]
    return _filled([*own, *measured[:3], flops, measured[3]], groups)


def lines(
    groups: list[dict],
    shown: list[Column],
    escape: Callable[[str], str] = str,
    mark: Callable[[str], str] = str,
) -> list[list[str]]:
    """Return the texts of groups in columns.

    Args:
        groups: groups from `summary`.
        shown: columns of the table.
        escape: function applied to every text.
        mark: function applied to the best values among equal steps and n, after `escape`. Values that are not
            distinguished from the best get EQUAL.
    """
    return [[_text(group, column, escape, mark) for column in shown] for group in groups]


def _text(group: dict, column: Column, escape: Callable[[str], str], mark: Callable[[str], str]) -> str:
    """Return the text of a group in a column."""
    return standing_text(column.text(group), group, column.metric, mark, escape)


def standing_text(
    text: str,
    group: dict,
    name: str | None,
    mark: Callable[[str], str],
    escape: Callable[[str], str] = str,
) -> str:
    """Return a figure's text, marked if it is the best, and with EQUAL if it is not distinguished from it."""
    if name in group["equals"]:
        text = f"{text} {EQUAL}"
    text = escape(text)
    return mark(text) if name in group["bests"] else text


def by_steps(groups: list[dict]) -> tuple[list[str], list[tuple[str, list[dict | None]]]]:
    """Return the table of one metric by steps: headings, and for each line its group at each step count."""
    steps = sorted({group["steps"] for group in groups})
    by_line: dict[str, dict[int, dict]] = {}
    for group in groups:
        by_line.setdefault(group["line"], {})[group["steps"]] = group
    headings = ["Model", *map(str, steps)]
    return headings, [(name, [own.get(step) for step in steps]) for name, own in by_line.items()]


def steps_texts(
    groups: list[dict], name: str, real: dict | None, mark: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Return one figure by steps as texts: headings and lines; real data have it at all steps.

    Args:
        groups: groups from `summary`.
        name: key of a metric, or of its extrapolation.
        real: group of real data, the first line; None for none.
        mark: function applied to the best values, see `lines`.
    """
    heads, found = by_steps(groups)
    texts = [
        [line, *("" if g is None else standing_text(_figure(g, name), g, name, mark) for g in by_line)]
        for line, by_line in found
    ]
    if real:
        texts.insert(0, [real["line"], *[_figure(real, name)] * (len(heads) - 1)])
    return heads, texts


def _figure(group: dict, name: str) -> str:
    """Return the text of a figure of a group; "–" if it has none."""
    return group["figures"].get(name, "–")


def training(groups: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Return the table of training costs, with likelihoods if measured: headings and lines."""
    names = ("params", "train_images", "train_seconds", "teacher_nfe")
    heads = ["Model", "Method", "Parameters", "Images", "Seconds", "Teacher NFE"]
    bits = {"nll": "NLL of training data, bits/dim", "nll_held_out": "NLL of held-out data, bits/dim"}
    bits = {name: head for name, head in bits.items() if any(finite(g.get(name)) for g in groups)}
    models = {group["model"]: group for group in groups}
    texts = [
        [model, g.get("method") or "–", *(count(g.get(name)) for name in names)]
        + [f"{g[name]:.3f}" if finite(g.get(name)) else "–" for name in bits]
        for model, g in models.items()
    ]
    return [*heads, *bits.values()], texts


def differences(groups: list[dict], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return the table of differences from the teacher and from real data: headings and lines.

    Args:
        groups: groups from `summary`.
        metric: metric that is compared.
    """
    aim = reference(groups, metric, usual(groups))
    heads = {
        "ddpm": f"− DDPM {aim['steps']}" if aim else "− DDPM",
        "ddim": "− DDIM, same steps",
        "real": "− real data",
    }
    heads = {name: head for name, head in heads.items() if any(name in g["differences"] for g in groups)}
    texts = [
        [g["line"], str(g["steps"]), *(_difference(g, name) for name in heads)]
        for g in groups
        if g["differences"]
    ]
    return ["Model", "Steps", *heads.values()], texts


def _difference(group: dict, name: str) -> str:
    """Return a difference of a group as text; "" if it has none."""
    return str(group["differences"].get(name, ""))


def compared(differences: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Return the table of paired differences: headings and lines."""
    metric = differences[0]["metric"] if differences else ""
    texts = [
        [
            str(d["steps"]),
            d["a"],
            d["b"],
            signed(d["difference"]),
            f"{signed(d['low'])} to {signed(d['high'])}",
            "yes" if d["low"] > 0 or d["high"] < 0 else "no",
        ]
        for d in differences
    ]
    return ["Steps", "A", "B", f"{metric}: A − B", "95 % interval", "significant at 95 %"], texts


def table(rows: list[dict], width: int | None = None) -> Table:
    """Return the table for the terminal, with the best values in bold green.

    Args:
        rows: rows of bench.jsonl.
        width: width in characters that the columns must fit; None for that of the terminal.
    """
    groups = summary(rows)
    metrics = metrics_of(rows)
    groups = [*real_groups(rows, groups, metrics), *groups]
    spread = any(finite(group[f"{metrics[0]}_ci"]) for group in groups)
    interval = f"± half a 95 % interval; {EQUAL} not distinguished; " if spread else "no interval: one seed; "
    extractor = _distinct(rows, "extractor") or "unnamed"
    seeds = _distinct(models_only(rows) or rows, "seed")
    nfe_of_guidance = "; with classifier-free guidance a step costs 2 NFE" if guided(groups) else ""
    view = Table(
        caption=f"↓ lower, ↑ higher is better; {interval}extractor {extractor}; n = {_distinct(rows, 'n')}; "
        f"seeds {seeds}{nfe_of_guidance}",
        header_style="bold",
    )
    preferred = [column for column in columns(groups, metrics) if column.head not in ("n", "seeds")]
    shown = _fitting(preferred, groups, Console().width if width is None else width)
    for column in shown:
        view.add_column(column.head, justify="left" if column.head in LEFT_COLUMNS else "right", no_wrap=True)
    texts = lines(groups, shown, no_markup, "[bold green]{}[/]".format)  # brackets of samplers are not markup
    for line, group, following in zip(texts, groups, [*groups[1:], None]):
        view.add_row(*line, end_section=following is not None and following["family"] != group["family"])
    return view


def print_table(view: Table, console: Console | None = None) -> None:
    """Print a table as wide as it is: a narrow terminal breaks its lines, and no figure is cut.

    Args:
        view: the table.
        console: where it is printed; None for standard output.
    """
    console = console or Console()
    needed = console.measure(view, options=console.options.update(max_width=MAX_WIDTH)).maximum
    present = console.width
    console.width = max(present, needed)
    console.print(view)
    console.width = present


def count(value: float | None) -> str:
    """Format a number as a whole one, with separators of thousands."""
    return "–" if value is None else f"{value:,.0f}"


def _distinct(rows: list[dict], name: str) -> str:
    """Return the distinct values of a key in rows, joined by commas."""
    return ", ".join(dict.fromkeys(str(row[name]) for row in rows if row.get(name) is not None))


def _filled(candidates: list[Column], groups: list[dict]) -> list[Column]:
    """Return the columns that are not empty in all lines."""
    return [column for column in candidates if any(column.text(group) not in EMPTY_TEXTS for group in groups)]


def _fitting(candidates: list[Column], groups: list[dict], width: int) -> list[Column]:
    """Return the columns that fit into a width, chosen by priority, in their original order."""
    main = next(column.head for column in candidates if column.metric)
    preferred = [*FIRST_COLUMNS, main, *NEXT_COLUMNS]
    others = [column.head for column in candidates if column.head not in preferred]
    rank = {head: place for place, head in enumerate([*preferred, *others])}
    room = width - 1
    taken = []
    for column in sorted(candidates, key=lambda column: rank[column.head]):
        texts = [column.head, *map(column.text, groups)]
        room -= 3 + max(map(len, texts))  # a border and two spaces
        if room < 0 and rank[column.head] > len(FIRST_COLUMNS):
            break
        taken.append(column.head)
    return [column for column in candidates if column.head in taken]
