"""Plugins: a file that runs once, its hash, and errors that name its line."""

import os
import sys

import pytest

from fastdiff.core import plugins
from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import sha256


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Plugins, modules and the search path as they were, after the test."""
    monkeypatch.setattr(plugins, "_plugins", [])
    monkeypatch.setattr(plugins, "_hashes", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    os.environ.pop(plugins.VARIABLE, None)


def test_a_file_runs_once_and_is_known_by_its_hash(tmp_path):
    (tmp_path / "own_helper.py").write_text("factor = 3\n")
    file = tmp_path / "own.py"
    file.write_text(
        "import sys\nimport own_helper\nsys.own_runs = getattr(sys, 'own_runs', 0) + own_helper.factor\n"
    )
    assert plugins.plugin_hashes() == {}
    try:
        for path in (file, str(file), tmp_path / "." / "own.py"):
            plugins.load_plugin(path)
        assert sys.own_runs == 3
    finally:
        del sys.own_runs
    hashes = {"own.py": sha256(file), "own_helper.py": sha256(tmp_path / "own_helper.py")}
    assert plugins.plugin_hashes() == hashes
    assert os.environ[plugins.VARIABLE] == str(file)  # for processes that this one starts


def test_the_environment_names_files_like_a_path(tmp_path, monkeypatch):
    names = ["one.py", "two.py"]
    for name in names:
        (tmp_path / name).write_text(
            "from dataclasses import dataclass\n@dataclass\nclass Own:\n    size: int = 1\n"
        )
    monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(["", *(str(tmp_path / name) for name in names)]))
    plugins.load_environment_plugins()
    assert list(plugins.plugin_hashes()) == names


def test_files_of_one_name_are_named_with_their_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"folder = {folder!r}\n")
        plugins.load_plugin(tmp_path / folder / "own.py")
    assert list(plugins.plugin_hashes()) == ["own.py", "b/own.py"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("x = 1\ny = z\n", "plugin .*own.py, line 2: NameError: name 'z' is not defined$"),
        ("x = 1\n\nif\n", "plugin .*own.py, line 3: SyntaxError: invalid syntax"),
        (
            "def f():\n    return 1 / 0\nf()\n",
            "plugin .*own.py, line 2: ZeroDivisionError: division by zero$",
        ),
        ("import nosuch_module\n", "plugin .*own.py, line 1: ModuleNotFoundError: No module named"),
    ],
    ids=["name", "syntax", "function", "import"],
)
def test_an_error_names_its_line(text, line, tmp_path):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(FastdiffError, match=line):
        plugins.load_plugin(tmp_path / "own.py")
    assert plugins.plugin_hashes() == {} and "fastdiff_plugin_own" not in sys.modules


def test_no_such_file(tmp_path):
    with pytest.raises(FastdiffError, match=r"plugin nosuch.py: cannot be read \(No such file"):
        plugins.load_plugin("nosuch.py")
    with pytest.raises(FastdiffError, match="cannot be read .*expected a Python file"):
        plugins.load_plugin(tmp_path)
