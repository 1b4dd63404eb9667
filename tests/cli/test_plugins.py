"""The option --plugin of every command, before and after the command's name, and FASTDIFF_PLUGINS."""

import pytest
import typer

from fastdiff.cli import app as cli
from fastdiff.core import plugins
from fastdiff.samplers import SAMPLERS


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A file that registers a sampler; what it registers is forgotten."""
    file = tmp_path / "own_sampler.py"
    file.write_text('''import fastdiff
def own_ddim(denoise, x, times):
    """An own sampler."""
    yield from fastdiff.SAMPLERS["ddim"](denoise, x, times)
fastdiff.SAMPLERS["own_ddim"] = own_ddim
''')
    monkeypatch.setattr(plugins, "_plugins", [])
    monkeypatch.setattr(plugins, "_hashes", {})
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setitem(SAMPLERS, "own_ddim", None)
    monkeypatch.delitem(SAMPLERS, "own_ddim")
    return file


def test_every_command_takes_it():
    group = typer.main.get_command(cli.app)
    for command in (group, *group.commands.values()):
        [option] = [option for option in command.params if option.name == "plugin"]
        assert option.opts == ["--plugin"] and option.multiple and len(option.help) <= 55


@pytest.mark.parametrize(
    "words",
    [
        ["--plugin", "{}", "sample"],
        ["sample", "--plugin={}"],
        ["--plugin", "{}", "sample", "--plugin", "{}"],
    ],
    ids=["before", "after", "both"],
)
def test_it_works_before_and_after_the_name(words, plugin, points, tmp_path, fastdiff):
    words = [word.format(plugin) for word in words]
    out = tmp_path / "out.png"
    code, _, err = fastdiff(
        *words, points / "teacher", "--sampler", "own_ddim", "--n", 4, "--steps", 2, "--out", out
    )
    assert (code or 0, err) == (0, "") and out.exists()


def test_the_environment_names_plugins_too(plugin, fastdiff, monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, str(plugin))
    code, out, _ = fastdiff("list", "samplers")
    assert (code or 0) == 0 and "An own sampler." in out


def test_a_plugin_that_fails_is_named(tmp_path, refused):
    (tmp_path / "own_broken.py").write_text("import fastdiff\nfastdiff.SAMPLERS['a'] = nosuch\n")
    line = refused("list", "samplers", "--plugin", tmp_path / "own_broken.py")
    assert line.startswith("fastdiff: plugin ") and "own_broken.py, line 2: NameError: name 'nosuch'" in line


def test_former_options_work_after_a_plugin():
    from fastdiff.core.former_names import renamed_options

    words = ["--plugin", "own.py", "bench", "a", "--against", "ddim:4"]
    assert renamed_options(words) == ["--plugin", "own.py", "bench", "a", "--baselines", "ddim:4"]
