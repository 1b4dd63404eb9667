"""The progress of a run where there is no terminal: ten lines, with what is left."""

import io

from rich.console import Console

from fastdiff.runs.progress_bar import bar


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
