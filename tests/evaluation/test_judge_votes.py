"""What comes of the answers: intervals, ties, sums over raters."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from fastdiff.evaluation.judge.votes import answers, markdown, results, table, wilson
from tests.helpers.judging import HEADERS, ONE, TWO, kept, sheet, sitting
from tests.helpers.paths import ROOT


def test_wilson_interval_agrees_with_published_values_and_scipy():
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((1 - 0.2775328, 1), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    stats = pytest.importorskip("scipy.stats")
    for wins, n in ((0, 1), (1, 1), (3, 7), (50, 100), (999, 1000), (1, 10**6)):
        expected = stats.binomtest(wins, n).proportion_ci(method="wilson")
        low, high = wilson(wins, n)
        assert (low, high) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        ) and 0 <= low <= wins / n <= high <= 1


def given(a, b, choices):
    return [{"a": a, "b": b, "choice": {"+": "a", "-": "b", "=": "none"}[sign]} for sign in choices]


def test_ties_are_counted_beside_the_rate():
    found = results(
        [*given("y", "real", "=="), *given("x", "real", "++++++++--==="), *given("y", "real", "=")]
    )
    low, high = wilson(8, 10)
    assert found == [
        {
            "a": "x",
            "b": "real",
            "wins": 8,
            "losses": 2,
            "ties": 3,
            "n": 13,
            "rate": 0.8,
            "low": low,
            "high": high,
        },
        {
            "a": "y",
            "b": "real",
            "wins": 0,
            "losses": 0,
            "ties": 3,
            "n": 3,
            "rate": None,
            "low": 0.0,
            "high": 1.0,
        },
    ]
    text = markdown(found)
    assert "| x | real | 80% (49 to 94) | 8 | 2 | 3 |\n| y | real | – | 0 | 0 | 3 |\n" in text
    assert results([]) == [] and table([]).caption == "no answers yet"


def test_raters_are_summed_and_a_model_trained_again_is_judged_again(run_dir):
    for rater in ("ann", "ben"):
        asked = sitting(run_dir, n=4, rater=rater, a="distilled:1", b="real")
        while asked.current:
            asked.answer(asked.token, "left" if asked.current.sides[0] == "a" else "right")
    [result] = results(answers(run_dir))
    assert (result["a"], result["b"], result["wins"], result["n"], result["rate"]) == (ONE, "real", 8, 8, 1.0)
    sheet(run_dir / "samples" / f"{ONE}.png", seed=1000)
    assert answers(run_dir) == [] and sitting(run_dir, n=4, a="distilled:1", b="real").state()["number"] == 1
    (run_dir / "samples" / "real.png").unlink()
    assert answers(run_dir) == []


def test_results_are_printed_without_serving(run_dir, fastdiff):
    assert fastdiff("judge", run_dir, "--results", "--json") == (0, "[]\n", "")
    assert "no answers yet" in fastdiff("judge", run_dir, "--results")[1]
    asked = sitting(run_dir, n=1, a="halved:2", b="real")
    asked.answer(asked.token, asked.current.sides[0] == "a" and "left" or "right")
    code, out, _ = fastdiff("judge", run_dir, "--results", "--json")
    assert code == 0 and json.loads(out) == results(answers(run_dir)) and json.loads(out)[0]["wins"] == 1
    lines = fastdiff("judge", run_dir, "--results")[1].splitlines()
    assert any(TWO in line and "100% (21 to 100)" in line for line in lines) and max(map(len, lines)) <= 80


def test_the_command_serves_until_interrupted_and_ends_with_the_results(run_dir):
    command = subprocess.Popen(
        [sys.executable, "-m", "fastdiff", "judge", str(run_dir), "--pairs", "2"],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # background jobs ignore it
    try:
        url, keys = command.stderr.readline().strip(), command.stderr.readline()
        assert url.startswith("http://127.0.0.1:") and "backspace" in keys
        with urllib.request.urlopen(url, timeout=10) as response:
            token = json.loads(response.read().decode().partition('id="state">')[2].partition("<")[0])[
                "token"
            ]
        body = json.dumps({"token": token, "choice": "none"}).encode()
        urllib.request.urlopen(urllib.request.Request(url + "answer", body, HEADERS), timeout=10).close()
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)
    finally:
        command.kill()
    assert command.returncode == 0 and "A preferred" in out and err == "" and len(kept(run_dir)) == 1


def test_judging_needs_no_torch(run_dir):
    code = (
        "import sys, fastdiff.evaluation.judge.server as ballot\n"
        "import fastdiff.evaluation.judge.questions as judge\n"
        f"ballot.Server(ballot.Sitting({str(run_dir)!r}, judge.questions({str(run_dir)!r}, judge.pairings("
        f"{str(run_dir)!r}), 'ann', 2), 'ann')).server_close()\n"
        "print([name for name in ('torch', 'matplotlib', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
