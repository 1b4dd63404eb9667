"""The project's words: names of the field in the code, and plain English in all that a user reads."""

import ast
import io
import re
import tokenize
from pathlib import Path

from tests.helpers.paths import ROOT

BANNED = re.compile(
    r"\b(told|asked|heard|at hand|beside|upon|is none|so many|not to be had|lets go|mends)\b", re.IGNORECASE
)
NAMES = {"told", "said", "asked", "alike", "beside", "wanted", "found", "mine", "theirs", "here", "there"}
FORMER_NAMES = ROOT / "fastdiff/core/former_names.py"  # a table of former names holds banned ones
SOURCES = sorted((ROOT / "fastdiff").rglob("*.py"))
RECIPES = [p for p in sorted((ROOT / "recipes").rglob("*")) if p.suffix in (".yaml", ".py", ".md")]
PAGES = [ROOT / "README.md", *sorted((ROOT / "fastdiff").rglob("*.md")), ROOT / "checkpoints/README.md"]
TEMPLATES = [p for p in sorted((ROOT / "fastdiff").rglob("*")) if p.suffix in (".j2", ".html", ".js", ".css")]


def prose(path: Path) -> str:
    """Return the comments and strings of a Python file, a line each; of any other file, its text."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    return "\n".join(
        t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type in kinds
    )


def banned(path: Path) -> list[str]:
    """Return the banned words of a file, each with what stands before and after it."""
    text = " ".join(prose(path).split())
    return [text[max(0, m.start() - 40) : m.end() + 20] for m in BANNED.finditer(text)]


def test_no_banned_words():
    paths = [path for path in (*SOURCES, *RECIPES, *PAGES, *TEMPLATES) if path.exists()]
    found = {str(path.relative_to(ROOT)): banned(path) for path in paths if path != FORMER_NAMES}
    assert {path: words for path, words in found.items() if words} == {}


def names_of(tree: ast.AST) -> set[str]:
    """Return the names of functions, of classes, and of fields: what a class or `self` is given."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                target.id
                for line in node.body
                for target in getattr(line, "targets", [getattr(line, "target", None)])
                if isinstance(target, ast.Name)
            }
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_names_of_the_field():
    found = {str(path.relative_to(ROOT)): names_of(ast.parse(path.read_text())) & NAMES for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


def test_docstrings_begin_with_a_verb_or_a_noun():
    """A first line that begins with What, Whether or The same needs its neighbours to be understood."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in SOURCES:
        found = [
            text.splitlines()[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, nodes) and (text := ast.get_docstring(node))
        ]
        odd = [line for line in found if re.match(r"(What|The same|Of|More of)\b", line)]
        assert odd == [], path.relative_to(ROOT)
