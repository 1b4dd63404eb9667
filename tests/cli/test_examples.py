"""The examples and the texts under `--help`."""

import shlex

import pytest
import typer

from fastdiff.cli import app as cli
from fastdiff.cli.examples import EXAMPLES, epilog

COMMANDS = typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_is_accepted(name, fastdiff):
    assert EXAMPLES[name]
    for example in EXAMPLES[name]:
        program, verb, *arguments = shlex.split(example)
        assert (program, verb) == ("fastdiff", name) and len(example) <= 78
        COMMANDS[name].make_context(name, arguments)
    code, out, err = fastdiff(name, "-h")
    assert (code, err) == (0, "") and all(f"  {example}\n" in out for example in EXAMPLES[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lines_are_short(name):
    command = COMMANDS[name]
    assert len(command.help.split("\n")[0]) <= 55
    for parameter in command.params:
        assert parameter.help and len(parameter.help) <= 55, parameter.name


def test_a_command_without_examples_has_no_text_under_its_help():
    assert epilog("nosuch") is None
