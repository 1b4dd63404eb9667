"""The tables of a report: groups of rows as columns of text, the terminal's among them."""

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape as no_markup
from rich.table import Table

from ..metric_names import better, family
from ..summary import figure, finite, metrics_of, ratio, summary

NAMES = ("Model", "Sampler", "Method")  # set flush left
EMPTY = ("", "–")
FIRST = ("Model", "Sampler", "Steps")  # what the narrowest terminal shows,
THEN = ("vs DDIM", "ms/image", "NFE")  # with the main metric and, where they fit, these


class Column(NamedTuple):
    """A heading, what a group reads under it, and the metric whose best is marked there."""

    head: str
    text: Callable[[dict], str]
    metric: str | None = None


def columns(groups: list[dict], metrics: list[str]) -> list[Column]:
    """What tells a group from others, its metrics, and what they are to be read with; none that is empty in all lines."""
    found = [
        Column("Model", lambda g: g["model"]),
        Column("Sampler", lambda g: g["solver"]),
        Column("Steps", lambda g: str(g["steps"])),
        Column("NFE", lambda g: "–" if g["nfe"] is None else f"{g['nfe']:g}"),
    ]
    kinds = [family(metric) for metric in metrics]
    for metric in metrics:
        # One of a kind needs no extractor beside its name: the main metric's tells.
        name = metric if metric == metrics[0] or kinds.count(family(metric)) > 1 else family(metric)
        if metric != "nll":  # a model's, not a cell's: see `training`
            arrow = "↓" if better(metric) == "lower" else "↑"
            found.append(Column(f"{name} {arrow}", lambda g, of=metric: g["figures"][of], metric))
            found.append(Column(f"{name} n→∞", lambda g, of=f"{metric}_inf": figure(g.get(of))))
    found += [
        Column("vs DDIM", lambda g: "" if g["gain"] is None else f"{ratio(g['gain'])}x"),
        Column("ms/image", lambda g: figure(g["ms_per_image"])),
        Column("n", lambda g: str(g["n"])),
        Column("seeds", lambda g: ", ".join(map(str, g["seeds"]))),
    ]
    return _filled(found, groups)


def costs(groups: list[dict]) -> list[Column]:
    """What an image costs, and how it was measured."""
    names = {"Batch": "batch", "Images/s": "images_per_s", "Peak MB": "peak_mb", "Parameters": "params"}
    measured = [Column(head, lambda g, name=name: count(g.get(name))) for head, name in names.items()]
    flops = Column("GFLOPs/image", lambda g: figure(g["flops_per_image"] and g["flops_per_image"] / 1e9))
    own = [column for column in columns(groups, []) if column.head in (*FIRST, "NFE", "ms/image")]
    return _filled([*own, *measured[:3], flops, measured[3]], groups)


def lines(
    groups: list[dict],
    shown: list[Column],
    escape: Callable[[str], str] = str,
    mark: Callable[[str], str] = str,
) -> list[list[str]]:
    """The lines under `shown`: `escape` of every text, `mark` of the bests among equal steps and n."""
    plain = lambda g, column: escape(column.text(g))  # noqa: E731
    return [[mark(plain(g, c)) if c.metric in g["bests"] else plain(g, c) for c in shown] for g in groups]


def by_steps(groups: list[dict]) -> tuple[list[str], list[tuple[str, list[dict | None]]]]:
    """One figure as papers print it: headings, and the groups of each line under their steps."""
    steps = sorted({group["steps"] for group in groups})
    found = {}
    for group in groups:
        found.setdefault(group["line"], {})[group["steps"]] = group
    return ["Model", *map(str, steps)], [
        (name, [those.get(step) for step in steps]) for name, those in found.items()
    ]


def training(groups: list[dict]) -> tuple[list[str], list[list[str]]]:
    """What training each model took, and its likelihood where it was measured: headings and lines."""
    names = ("params", "train_images", "train_seconds", "teacher_nfe")
    models = {group["model"]: group for group in groups}
    bits = {group["model"]: f"{group['nll']:.3f}" for group in groups if group.get("nll") is not None}
    texts = [
        [model, g.get("method") or "–", *(count(g.get(name)) for name in names), bits.get(model, "–")]
        for model, g in models.items()
    ]
    return ["Model", "Method", "Parameters", "Images", "Seconds", "Teacher NFE", "NLL, bits/dim"], texts


def compared(differences: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Paired differences: headings and lines."""
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
    return ["Steps", "A", "B", f"{metric}: A − B", "95 % interval", "told apart"], texts


def table(rows: list[dict], width: int | None = None) -> Table:
    """The terminal's view, of as many columns as `width` (the terminal's own) has room for; bests in bold green."""
    groups, metrics = summary(rows), metrics_of(rows)
    about = {
        name: ", ".join(dict.fromkeys(str(row[name]) for row in rows if row.get(name) is not None))
        for name in ("extractor", "n", "seed")
    }
    interval = (
        "± half a 95 % interval; " if any(finite(group[f"{metrics[0]}_ci"]) for group in groups) else ""
    )
    view = Table(
        caption=f"↓ lower, ↑ higher is better; {interval}extractor {about['extractor'] or 'unnamed'}; n = {about['n']}; "
        f"seeds {about['seed']}; a guided step counts two in NFE, of a model told its guidance one",
        header_style="bold",
    )
    shown = _fitting(
        [c for c in columns(groups, metrics) if c.head not in ("n", "seeds")],
        groups,
        Console().width if width is None else width,
    )
    for column in shown:
        view.add_column(column.head, justify="left" if column.head in NAMES else "right", no_wrap=True)
    texts = lines(groups, shown, no_markup, "[bold green]{}[/]".format)  # a sampler's brackets are no markup
    for line, group, following in zip(texts, groups, [*groups[1:], None]):
        view.add_row(*line, end_section=following is not None and following["family"] != group["family"])
    return view


def count(value: float | None) -> str:
    """A whole number with its thousands."""
    return "–" if value is None else f"{value:,.0f}"


def signed(value: float) -> str:
    """A difference to three digits."""
    return f"{value:+.3g}".replace("-", "−")


def _filled(found, groups):
    return [column for column in found if any(column.text(group) not in EMPTY for group in groups)]


def _fitting(found, groups, width):
    """The columns of the table's own order that fit, the most wanted taken first."""
    main = next(column.head for column in found if column.metric)
    wanted = [*FIRST, main, *THEN]
    rank = {
        head: place for place, head in enumerate([*wanted, *(c.head for c in found if c.head not in wanted)])
    }
    room, taken = width - 1, []
    for column in sorted(found, key=lambda column: rank[column.head]):
        room -= 3 + max(
            len(text) for text in (column.head, *map(column.text, groups))
        )  # a border and two spaces
        if room < 0 and rank[column.head] > len(FIRST):
            break
        taken.append(column.head)
    return [column for column in found if column.head in taken]
