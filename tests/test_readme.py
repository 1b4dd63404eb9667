"""The README's code blocks run, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from fastdiff import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
COMMANDS = [line.split("  #")[0].strip() for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S)
            for line in block.splitlines() if line.startswith("fastdiff ")]


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped checkpoints and recipes in it."""
    for name in ("checkpoints", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_block(block, clone):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in ("sample", "list", "export")])
def test_quick_command(command, clone, monkeypatch):
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    if "--out" in command:
        assert (clone / command.split("--out ")[1].split()[0]).exists()


def test_recipes_named_exist():
    for name in re.findall(r"recipes/[\w-]+\.yaml", TEXT):
        assert (ROOT / name).exists() or "my" in name, name


def test_no_command_is_missing_from_the_readme():
    assert {c.split()[1] for c in COMMANDS} == {verb.name for verb in cli.app.registered_commands}
