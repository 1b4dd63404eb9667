"""The pages of documentation: their code blocks, commands, links and tables."""

import re
from functools import cached_property

from tests.helpers.paths import ROOT

NAMES = (
    "README.md",
    "recipes/README.md",
    "checkpoints/README.md",
    "fastdiff/samplers/README.md",
    "fastdiff/methods/README.md",
    "fastdiff/evaluation/README.md",
    "fastdiff/training/README.md",
    "fastdiff/io/README.md",
    "tests/README.md",
)


class Page:
    """A page by its path from the root of the repository."""

    def __init__(self, name: str):
        self.name = name
        self.path = ROOT / name

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """The text without its code blocks."""
        return re.sub(r"```.*?```", "", self.text, flags=re.S)

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.S)

    def commands(self) -> list[str]:
        """Lines of bash blocks that call fastdiff, without comments."""
        lines = "\n".join(self.blocks("bash")).replace("\\\n", " ").splitlines()
        bare = (line.split("  #")[0].strip() for line in lines)
        return [line for line in bare if line.startswith("fastdiff ")]

    def inline(self) -> list[str]:
        """Code between single backticks."""
        return re.findall(r"`([^`\n]+)`", self.prose)

    def links(self) -> list[str]:
        """Targets of links and pictures that are not on the web."""
        targets = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in targets if "://" not in target]

    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.M)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def tables(self, heading: str = "") -> list[list[dict[str, str]]]:
        """Tables after a heading, or of the whole page: a dict per row, by column."""
        prose = self.prose
        if heading:
            start = prose.index(f"\n## {heading}\n")
            prose = prose[start : prose.find("\n## ", start + 1)] + "\n"
        found = []
        for table in re.findall(r"(?:^\|.*\|\n)+", prose, re.M):
            rows = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
                for line in table.splitlines()
            ]
            found.append([dict(zip(rows[0], row, strict=True)) for row in rows[2:]])
        return found


PAGES = [Page(name) for name in NAMES]
