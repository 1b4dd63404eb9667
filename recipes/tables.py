"""Write the tables of settings into the pages of documentation, from annotations, defaults and docstrings.

    python recipes/tables.py

A table lies between <!-- table: train --> and <!-- end -->; `fastdiff list train` prints the same.
"""

import re
from pathlib import Path

from fastdiff.cli.catalogue import SECTIONS, Listed, entry, lines, registry, section
from fastdiff.core.settings import Setting

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("recipes/README.md", "fastdiff/samplers/README.md")
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PREFIXED = (Listed.train, Listed.bench, Listed.gan)  # their keys are written with the name of the section


def updated(page: str) -> str:
    """Return a page's text with its tables written anew."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(Listed(found[2]))}\n\n{found[3]}", page)


def table(kind: Listed) -> str:
    """Return the Markdown table of a kind."""
    if kind in SECTIONS:
        prefix = f"{kind.value}." if kind in PREFIXED else ""
        found = section(kind).settings
        return ruled(
            ["key", "values", "default", "meaning"],
            [[f"`{prefix}{one.name}`", one.type, code(one.default), one.meaning] for one in found],
        )
    known = registry(kind)
    names: dict[int, list[str]] = {}  # names of the same entry
    for name, one in known.items():
        names.setdefault(id(one), []).append(name)
    return ruled(
        ["name", "what it is", "settings (default)"],
        [
            [
                ", ".join(f"`{name}`" for name in same),
                lines(kind)[same[0]],
                brief(entry(kind, same[0]).settings),
            ]
            for same in names.values()
        ],
    )


def brief(settings: list[Setting]) -> str:
    """Return settings with their defaults in one cell, without those inside of another."""
    return ", ".join(f"`{one.name}` ({code(one.default)})" for one in settings if "." not in one.name)


def code(default: str) -> str:
    """Return a default as Markdown."""
    return default if default == "required" else f"`{default}`"


def ruled(heads: list[str], cells: list[list[str]]) -> str:
    """Return a Markdown table."""
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *escaped))


def main() -> None:
    """Write the tables into all pages."""
    for name in PAGES:
        path = ROOT / name
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
