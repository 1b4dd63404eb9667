"""A setting that is replaced by a near one is said in one line."""

import warnings

import pytest

from fastdiff.cli.app import show_warning
from fastdiff.core.errors import FastdiffWarning
from fastdiff.io.formats.notices import notice


def test_a_notice_is_a_warning_of_fastdiff():
    with pytest.warns(FastdiffWarning, match=r"^scheduler\.x: replaced$"):
        notice("scheduler.x: replaced")


def test_commands_print_a_notice_in_one_line(monkeypatch, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show_warning)
        notice("scheduler.x: replaced")
    assert capsys.readouterr().err == "fastdiff: warning: scheduler.x: replaced\n"
