"""The command line: errors in one line, help without torch, tracebacks of our own errors."""

import subprocess
import sys

import pytest
import yaml

from fastdiff import __version__
from fastdiff.cli import app as cli
from fastdiff.cli import listing
from tests.helpers.commands import RECIPE, command
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    "words, message",
    [
        (["run", "{recipe}", "train.stpes=3"], "train.stpes is unknown, did you mean steps?"),
        (["export", "{tmp}", "--out", "{tmp}"], "exists already; name a new folder"),
        (["sample", "{tmp}", "--labels", "seven"], "--labels seven: expected whole numbers"),
        (["bench", "{tmp}", "--steps", "1,two"], "--steps 1,two: expected whole numbers"),
        (["report", "{tmp}"], "no rows in"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_errors_of_real_commands(words, message, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    done = command(*(word.format(tmp=tmp_path, recipe=recipe) for word in words), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastdiff: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [recipe]


def test_help_lists_the_verbs(tmp_path):
    done = command("--help", cwd=tmp_path)
    listed = done.stdout.partition("Commands:")[2].split("\n")
    verbs = [line.split()[0] for line in listed if line.startswith("  ") and not line.startswith("   ")]
    assert (done.returncode, done.stderr) == (0, "")
    assert verbs == [verb.name for verb in cli.app.registered_commands] and len(verbs) == 13


def test_version_and_short_help(fastdiff):
    assert fastdiff("--version") == (0, f"fastdiff {__version__}\n", "")
    assert fastdiff("-h") == fastdiff("--help") and "--install-completion" in fastdiff("-h")[1]


def test_completion_names_commands_and_kinds(tmp_path):
    for words, found in (("fastdiff sam", "sample"), ("fastdiff list metr", "metrics")):
        request = {"_FASTDIFF_COMPLETE": "complete_bash", "COMP_WORDS": words}
        done = command(cwd=tmp_path, env=request | {"COMP_CWORD": str(words.count(" "))})
        assert done.stdout.split() == [found], done.stderr


def test_the_command_line_loads_without_torch():
    heavy = "{'torch', 'diffusers', 'datasets', 'accelerate', 'matplotlib'}"
    code = f"import sys, fastdiff, fastdiff.cli; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT).stdout
        == "[]\n"
    )


def test_our_own_errors_keep_their_traceback():
    code = (
        "from fastdiff import cli; from fastdiff.cli import listing; "
        "listing.lines = lambda kind: 1 / 0; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "samplers"], text=True, capture_output=True, cwd=ROOT
    )
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_ctrl_c(fastdiff, monkeypatch):
    def interrupted(kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "lines", interrupted)
    code, out, err = fastdiff("list", "samplers")
    assert code == 130 and err == "fastdiff: interrupted; run the same command again to resume\n"


def test_a_working_directory_that_is_gone(refused, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    line = refused("list", "samplers")
    monkeypatch.chdir(tmp_path)
    assert line == (
        "fastdiff: the working directory cannot be read (No such file or directory); change to another one\n"
    )


def test_a_terminal_that_has_few_letters(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/a.yaml").write_text("# Some – ∞\nname: a\n", encoding="utf-8")
    few = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = command("list", "recipes", cwd=tmp_path, env=few)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("  ")[1] == "Some ? ?\n"


def test_too_little_memory_is_one_line(refused, monkeypatch):
    def too_large(kind):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(listing, "lines", too_large)
    assert refused("list", "samplers").startswith("fastdiff: out of memory (Unable to allocate 9 GiB): use")
