"""The order of the house: floors, sizes, docstrings, what a wing leaves outside, how tests mirror it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import HOUSE, ROOT

# From the ground up. A wing imports from floors below its own, and from nothing on its own floor but itself.
FLOORS = ["core", "networks samplers data", "methods training io", "evaluation", "runs", "cli"]
FLOOR_OF = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings.split()}
FILES = sorted(HOUSE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
REGISTRIES = {"methods", "networks", "samplers"}  # wings whose __init__ is also a registry


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, dotted and absolute: fastdiff.data, torch.nn, ..."""
    modules = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            source = ".".join([*base, *filter(None, [node.module])])
            names = {f"{source}.{alias.name}" for alias in node.names}
            modules |= names if source in ("fastdiff", "tests") else {source}
    return modules


def wings_in(path: Path) -> set[str]:
    return {module.split(".")[1] for module in imported(path) if module.startswith("fastdiff.")} & set(
        FLOOR_OF
    )


def libraries(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imported(path)} - {"fastdiff"}


def first_line(node: ast.AST) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0]


def test_wings_import_from_floors_below():
    for path in HOUSE.glob("*/**/*.py"):
        own = path.relative_to(HOUSE).parts[0]
        for wing in wings_in(path) - {own}:
            assert FLOOR_OF[wing] < FLOOR_OF[own], f"{name(path)} imports {wing}"


def test_the_package_holds_ten_wings_and_nothing_else():
    entries = {path.name for path in HOUSE.iterdir()} - {"__pycache__"}
    assert entries == set(FLOOR_OF) | {"__init__.py", "__main__.py", "py.typed"}


def test_the_import_reader_sees_all_kinds():
    assert {"core", "data"} <= wings_in(HOUSE / "training/loop.py")  # from ..core.x import
    assert {"evaluation"} <= wings_in(HOUSE / "cli/bench.py")  # inside functions


@pytest.mark.parametrize("wing", FLOOR_OF)
def test_a_wing_opens_with_a_map_of_its_files(wing):
    tree = ast.parse((HOUSE / wing / "__init__.py").read_text())
    drawn = ast.get_docstring(tree)
    entries = [
        path for path in (HOUSE / wing).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    stems = {path.stem for path in entries} - {"__init__"}
    missing = [stem for stem in stems if not re.search(rf"\b{stem}\b", drawn)]
    assert missing == []
    if wing not in REGISTRIES | {"cli"}:
        assert len(tree.body) == 1


def test_methods_know_no_processes():
    for path in (HOUSE / "methods").glob("*.py"):
        assert "accelerate" not in libraries(path), name(path)
        assert "torch.distributed" not in path.read_text(), name(path)


WITHOUT_TORCH = [
    HOUSE / "__init__.py",
    HOUSE / "core/errors.py",
    HOUSE / "core/validation.py",
    HOUSE / "evaluation/rows.py",
    HOUSE / "evaluation/lock.py",
    HOUSE / "runs/status.py",
    *(
        path
        for room in ("evaluation/report", "evaluation/judge", "cli")
        for path in (HOUSE / room).glob("*.py")
    ),
]


@pytest.mark.parametrize("path", WITHOUT_TORCH, ids=name)
def test_rooms_without_torch(path):
    top = ast.parse(path.read_text()).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom) and not node.level}
    assert "torch" not in {module.split(".")[0] for module in names}
    if "cli" not in path.parts:
        assert "torch" not in libraries(path)


def test_a_report_is_written_without_torch(tmp_path):
    code = f"""
import sys
import fastdiff
from fastdiff.evaluation.rows import append_row
row = dict(key="k", model="teacher", sampler="ddim", spacing="uniform", steps=1, nfe=1, guidance=1,
           seed=0, n=8, fid=3.0, ms_per_image=1.0)
append_row({str(tmp_path / "bench.jsonl")!r}, row)
assert fastdiff.report.write({str(tmp_path)!r})
heavy = ("torch", "diffusers", "datasets", "accelerate", "fastdiff.data.registry")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_files_are_short_and_open_with_what_they_are():
    for path in (*FILES, *TESTS):
        text = path.read_text()
        assert len(text.splitlines()) <= 300, name(path)
        assert path.stem not in ("utils", "util", "misc", "common"), name(path)
        assert first_line(ast.parse(text)) or not text, name(path)


def test_tests_import_helpers_and_no_other_tests():
    for path in TESTS:
        shared = {module for module in imported(path) if module.startswith("tests.")}
        assert not [module for module in shared if module.split(".")[1] != "helpers"], name(path)


def test_every_module_has_tests_under_its_name():
    for path in HOUSE.glob("*/**/*.py"):
        own = ROOT / "tests" / path.relative_to(HOUSE).parts[0]
        named = re.compile(rf"test_(\w+_)?{path.stem}(_\w+)?")
        tests = [file for file in own.glob("test_*.py") if named.fullmatch(file.stem)]
        assert tests or path.stem == "__init__", name(path)


def test_tests_lie_in_the_wings():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(FLOOR_OF) | {"helpers"}


@pytest.mark.parametrize("words", [("check",), ("format", "--check")], ids=["lint", "layout"])
def test_ruff(words):
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "--no-cache", "."], text=True, capture_output=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
