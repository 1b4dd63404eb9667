"""What goes on in a run is told from another shell, truly, quickly, and whatever became of the run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from fastdiff.runs.status import SILENT_SECONDS, STATUS_FILE, lines, note, span, status
from tests.helpers.paths import ROOT

SAID = {
    "stage": "student",
    "number": "2/3",
    "step": 1200,
    "steps": 8000,
    "loss": 0.1234,
    "images_per_s": 812.3,
    "seconds_left": 340.4,
    "wait": 0.012,
    "memory_mb": 5120.0,
    "processes": 2,
}


@pytest.fixture
def run(tmp_path):
    """A run's directory: one stage done, one in training."""
    folder = tmp_path / "tiny"
    (folder / "teacher").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "tiny"}))
    (folder / "teacher/fastdiff.json").write_text("{}")
    for step in (900, 1000):
        (folder / f"student/state/{step}").mkdir(parents=True)
    (folder / "student/state/.1100.new").mkdir()
    (folder / "student.before-20260101-000000").mkdir()
    (folder / "student.before-20260101-000000/fastdiff.json").write_text("{}")
    (folder / "bench.jsonl").write_text('{"key": "a"}\n{"key": "b"}\n')
    return folder


def ended():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def said_by(folder, **other):
    """Change the last note: it was another process's, another host's or another day's."""
    path = folder / STATUS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | other))


def test_what_goes_on(run, fastdiff):
    note(run, **SAID)
    found = status(run)
    assert {key: found[key] for key in SAID} == SAID and found["alive"] and found["silent"] < 5
    assert (found["name"], found["done"], found["rows"]) == ("tiny", ["teacher"], 2)
    assert found["state"] == {"stage": "student", "step": 1000}
    code, out, err = fastdiff("status", run, "--json")
    assert (code, err) == (0, "") and json.loads(out) == found | {"silent": json.loads(out)["silent"]}
    code, out, err = fastdiff("status", run)
    assert [line.rstrip() for line in out.splitlines()] == [
        f"tiny, in {run}",
        "done        teacher",
        "now         student, stage 2/3, step 1,200 of 8,000 (15%), 5 min 40 s left",
        "loss        0.1234",
        "speed       812 images per second on 2 processes, 1.2% of the time waiting for data",
        "memory      5,120 MiB",
        "checkpoint  student at step 1,000",
        "rows        2 measured",
        f"last note   0 s ago, from process {os.getpid()} on {found['host']}",
        "            running",
    ]


def test_a_collapse_is_told_of_the_stage_in_training_and_of_those_that_are_done(run, fastdiff):
    note(run, **SAID, collapsed=0.314)
    (run / "teacher/fastdiff.json").write_text('{"collapsed": 0.25}')
    code, out, err = fastdiff("status", run)
    assert (code, err) == (0, "")
    assert (
        "health      teacher COLLAPSED: 25% of the data covered, student COLLAPSED: 31% of the data covered"
        in out
    )
    assert json.loads(fastdiff("status", run, "--json")[1])["collapsed"] == {
        "teacher": 0.25,
        "student": 0.314,
    }
    for text in ("[3]", "{", '{"collapsed": "x"}'):
        (run / "teacher/fastdiff.json").write_text(text)
        assert status(run)["collapsed"] == {"student": 0.314}
    note(run, **SAID | {"loss": None}, collapsed=None)  # and the student has not learned yet
    assert not {"loss", "health"} & lines(status(run)).keys()


def test_a_discriminator_at_chance_is_a_matter_of_health(run):
    note(run, **SAID, collapsed=0.314, chance_auc=0.503)
    (run / "teacher/fastdiff.json").write_text('{"chance_auc": 0.541}')
    assert status(run)["chance_auc"] == {"teacher": 0.541, "student": 0.503}
    assert lines(status(run))["health"] == (
        "student COLLAPSED: 31% of the data covered, teacher DISCRIMINATOR AT CHANCE: AUC 0.54, "
        "student DISCRIMINATOR AT CHANCE: AUC 0.50"
    )


def test_what_is_not_known_is_left_out(run):
    note(run, stage="benchmark", number="", step=3, steps=24, seconds_left=float("nan"), memory_mb=None)
    told = lines(status(run))
    assert told["now"] == "benchmark, step 3 of 24 (12%)" and not {"loss", "speed", "memory"} & told.keys()
    (run / STATUS_FILE).unlink()
    assert (
        lines(status(run)).keys() == {"done", "checkpoint", "rows", ""}
        and "not running" in lines(status(run))[""]
    )


def test_the_end(run):
    (run / "report.html").write_text("")
    note(run, stage="done")
    told = lines(status(run))
    assert told[""] == f"done: open {run}/report.html" and "now" not in told
    (run / STATUS_FILE).unlink()
    assert lines(status(run))[""].startswith("done")


def test_a_dead_process_is_told_from_a_living_one(run):
    again = f"resume with: fastdiff run {run}/recipe.yaml --out {run}"
    note(run, **SAID)
    said_by(run, pid=ended())
    assert lines(status(run))[""] == f"not running; {again}"
    (run / "crash-20260101T000000Z.txt").write_text("")
    assert lines(status(run))[""] == f"crashed, see crash-20260101T000000Z.txt; {again}"
    note(run, **SAID)  # it went on since
    said_by(run, time=time.time() + 5)
    assert lines(status(run))[""] == "running"
    said_by(run, time=1.0)  # another process has the number since
    assert status(run)["alive"] is False
    said_by(run, time=time.time(), host="elsewhere")
    assert lines(status(run))[""] == "probably running on elsewhere"
    said_by(run, time=time.time() - SILENT_SECONDS - 1)
    assert lines(status(run))[""] == f"no recent note; if no process is running on elsewhere, {again}"


def test_a_process_that_nobody_buried_is_dead(run):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    note(run, **SAID)
    said_by(run, pid=process.pid, time=time.time() + 1)
    assert status(run)["alive"] is True
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert status(run)["alive"] is False
    process.wait()


def test_news_never_end_a_run(tmp_path):
    note(tmp_path / "nosuch", stage="teacher")
    (tmp_path / STATUS_FILE).mkdir()
    note(tmp_path, stage="teacher")
    assert not (tmp_path / "nosuch").exists() and (tmp_path / STATUS_FILE).is_dir()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        "9" * 5000,
        "[" * 100_000,
        '{"step": "\\u001b[2J", "stage": 3, "time": Infinity, "pid": true}',
        '{"stage": "\\u001b[2Jx", "time": 1, "pid": 1e300, "steps": 0, "step": 5, "seconds_left": 1e300}',
        '{"time": 1e300, "pid": -1, "host": "x"}',
        '{"stage": ["a"], "processes": 2.5, "time": -1e300}',
    ],
)
def test_a_note_that_is_none_is_passed_over(text, run, fastdiff):
    (run / STATUS_FILE).write_text(text)
    code, out, err = fastdiff("status", run)
    assert (code, err) == (0, "") and "teacher" in out and "\x1b" not in out
    said = json.loads(text) if text.startswith('{"') else {}
    if said.get("pid") == 1e300:
        (run / STATUS_FILE).write_text(json.dumps(said | {"host": os.uname().nodename}))
        assert fastdiff("status", run)[0] == 0


@pytest.mark.parametrize(
    "seconds, text",
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (11520, "3 h 12 min"), (191000, "2 days 5 h")],
)
def test_lengths_of_time(seconds, text):
    assert span(seconds) == text


def test_it_answers_without_torch(run):
    code = (
        f"import sys; from fastdiff import cli; sys.argv = ['fastdiff', 'status', "
        f"{str(run)!r}]\ntry: cli.main()\n"
    )
    code += "finally: print(sorted({'torch', 'diffusers', 'datasets', 'accelerate'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT)
    assert done.stdout.endswith("[]\n") and done.stdout.startswith("tiny"), done.stderr
