"""Two processes that share their work, against two that share the machine: medians of ratios of seconds.

Two cores are seldom twice one: they heat, and share memory and a host. So both pairs run by turns of about a
second, in which a process has the same number of images; each ratio is of two turns that follow each other.
"""

import os
import statistics
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.pace import TURNS, WORK, await_file
from tests.helpers.processes import together

pytestmark = [pytest.mark.alone, pytest.mark.long]

AIMS = {"sampling": 1.85 / 2, "training": 1.75 / 2}
APART, SHARED = ("apart", "other"), ("shared",)
ROUND = 11  # turns: other work on the machine only ever takes time, so there are up to four rounds


def seconds(place, what, turn, names):
    """Let the processes of these names do a turn; the seconds until the last of them is done."""
    for name in names:
        (place / f"go-{what}-{turn}-{name}").touch()
    ranks = [f"{name}-{rank}" for name in names for rank in range(2 if name == "shared" else 1)]
    done = [place / f"done-{what}-{turn}-{rank}" for rank in ranks]
    for path in done:
        await_file(path)
    return max(float(path.read_text()) for path in done)


def best_share(place, what):
    """The greatest median of the ratios of a round of turns; the first that meets the aim is the last."""
    ratios, best = [], 0.0
    for turn in range(TURNS):
        alone = seconds(place, what, turn, APART)
        ratios.append(alone / seconds(place, what, turn, SHARED))
        if len(ratios) == ROUND:
            best, ratios = max(best, statistics.median(ratios)), []
            if best >= AIMS[what]:
                break
    (place / f"stop-{what}").touch()
    return best


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_two_processes_that_share_their_work_lose_little(tmp_path, capsys):
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(together, tmp_path, count, "tests.helpers.pace", name, tmp_path)
            for name, count in (("apart", 1), ("other", 1), ("shared", 2))
        ]
        share = {what: best_share(tmp_path, what) for what in WORK}
        for job in jobs:
            job.result()
    with capsys.disabled():
        print("\n" + ", ".join(f"{what} by two processes: {share[what]:.2f} of two alone" for what in WORK))
    assert all(share[what] >= aim for what, aim in AIMS.items()), share
