"""The house keeps its order: floors, sizes, first lines, and what each room leaves outside."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import HOUSE

# From the ground up. A wing imports from floors below its own, and from nothing on its own floor but itself.
FLOORS = ["core", "networks samplers data", "methods training io", "evaluation", "runs", "cli"]
WINGS = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings.split()}
FILES = sorted(HOUSE.rglob("*.py"))
ROOMS = [path for path in FILES if path != HOUSE / "__init__.py"]  # the roof names every floor, at first use


def name(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def floor(of: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if of in rooms)


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, dotted and absolute: fastdiff.data, torch.nn, ..."""
    found = set()
    package = ["fastdiff", *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{source}.{alias.name}" for alias in node.names} if source == "fastdiff" else {source}
    return found


def rooms_below(path: Path) -> set[str]:
    ours = {module.split(".")[1] for module in imported(path) if module.startswith("fastdiff.")}
    return {of for of in ours if (HOUSE / f"{of}.py").exists() or (HOUSE / of).is_dir()}


def libraries(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imported(path)} - {"fastdiff"}


def test_wings_import_from_floors_below():
    assert {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(
        WINGS
    )
    climbs = [
        (name(path), wing)
        for path in ROOMS
        if path.parent != HOUSE
        for wing in rooms_below(path)
        if wing != room(path) and WINGS[wing] >= WINGS[room(path)]
    ]
    assert climbs == []


def test_the_import_reader_sees_all_kinds():
    assert {"core", "networks"} <= rooms_below(
        HOUSE / "training/loop.py"
    )  # from ..core import, from ..x.y import
    assert {"evaluation"} <= rooms_below(HOUSE / "cli/bench.py")  # inside functions


def test_methods_know_no_processes():
    for path in (HOUSE / "methods").glob("*.py"):
        assert "accelerate" not in libraries(path), name(path)


@pytest.mark.parametrize(
    "file",
    [
        "core/errors.py",
        "core/validation.py",
        "evaluation/rows.py",
        "evaluation/lock.py",
        "runs/status.py",
        "__init__.py",
        *(
            name(path)
            for room in ("evaluation/report", "evaluation/judge", "cli")
            for path in (HOUSE / room).glob("*.py")
        ),
    ],
)
def test_rooms_without_torch(file):
    top = ast.parse((HOUSE / file).read_text()).body
    names = {alias.name.split(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        (node.module or "").split(".")[0]
        for node in top
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert "torch" not in names
    if not file.startswith("cli"):
        assert "torch" not in libraries(HOUSE / file)


def test_a_report_is_written_without_torch(tmp_path):
    code = f"""
import sys
import fastdiff
from fastdiff.evaluation.rows import append_row
row = dict(key="k", model="teacher", sampler="ddim", spacing="uniform", steps=1, nfe=1, guidance=1, seed=0,
           n=8, fid=3.0, ms_per_image=1.0)
append_row({str(tmp_path / "bench.jsonl")!r}, row)
assert fastdiff.report.write({str(tmp_path)!r})
heavy = ("torch", "diffusers", "datasets", "accelerate", "fastdiff.data.registry")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        cwd=HOUSE.parent,
        env=os.environ | {"PYTHONPATH": str(HOUSE.parent)},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_is_short_and_opens_with_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 410
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    assert first_line(ast.parse(text))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_public_names_say_what_they_are(path):
    public = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not first_line(node)] == []


def first_line(node) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0]


def test_ruff():
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "."],
        text=True,
        capture_output=True,
        cwd=HOUSE.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
