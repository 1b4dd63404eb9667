"""The progress of long work: a bar in a terminal, lines with what is left elsewhere."""

import io
from contextlib import contextmanager

import pytest
import torch
from rich.console import Console

import fastdiff
from fastdiff.core import progress_bar
from fastdiff.core.progress_bar import bar, counting
from fastdiff.networks.oracle import GaussianMixture


def lines(total, done, steps, terminal=False):
    file = io.StringIO()
    with bar(Console(file=file, force_terminal=terminal, width=100), "1/2 teacher", total, done) as advance:
        for step in steps:
            advance(step, f"loss {step}" if step == total else None)
    return file.getvalue().splitlines()


def test_a_line_is_printed_at_every_tenth():
    shown = lines(200, 0, range(1, 201))
    assert [line.split()[2] for line in shown] == [f"{20 * k}/200" for k in range(1, 11)]
    assert shown[0].startswith("1/2 teacher  20/200  ") and shown[0].endswith(" s left")
    assert shown[-1] == "1/2 teacher  200/200  0 s left  loss 200"


def test_a_work_that_goes_on_prints_what_is_new_and_few_steps_no_more_lines_than_steps():
    assert [line.split()[2] for line in lines(200, 150, range(151, 201))] == [
        f"{step}/200" for step in (160, 180, 200)
    ]
    assert len(lines(3, 0, range(1, 4))) == 3


def test_a_terminal_has_a_bar_in_the_place_of_lines():
    shown = "".join(lines(4, 0, range(1, 5), terminal=True))
    assert "4/4" in shown and "loss 4" in shown and "s left" not in shown


@pytest.mark.parametrize("silent, steps", [(60, []), (0, ["1/4", "2/4", "3/4", "4/4"])])
def test_lines_of_short_work_begin_after_a_while(silent, steps, monkeypatch):
    monkeypatch.setattr(progress_bar, "SILENT_SECONDS", silent)
    file = io.StringIO()
    with bar(Console(file=file, width=100), "sampling", 4, 0, transient=True) as advance:
        for step in range(1, 5):
            advance(step)
    assert [line.split()[1] for line in file.getvalue().splitlines()] == steps


@pytest.mark.parametrize("shown", [False, True])
def test_counting_shows_calls_on_standard_error_only_if_wanted(shown, monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "SILENT_SECONDS", 0)
    with counting("sampling", 2, shown) as advance:
        for _ in range(3):  # more calls than announced
            advance()
    printed = capsys.readouterr()
    assert printed.out == "" and ("sampling  2/2" in printed.err) == shown


def test_sampling_counts_every_step(monkeypatch):
    calls = []

    @contextmanager
    def recorded(title, total, shown):
        calls.append([title, total, shown, 0])

        def advance():
            calls[-1][3] += 1

        yield advance

    monkeypatch.setattr("fastdiff.samplers.generate.counting", recorded)
    parts = (torch.zeros(1, 2), torch.ones(1), torch.ones(1))
    model = GaussianMixture(*parts, fastdiff.SCHEDULES["cosine"]())
    fastdiff.sample(model, "ddim", steps=5, n=7, batch=3, progress=True)
    assert calls == [["sampling", 15, True, 15]]
