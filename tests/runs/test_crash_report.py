"""A crash leaves a report that can be pasted into an issue: all that helps, and no secret."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from fastdiff.runs.crash_report import masked, report
from fastdiff.runs.status import note

RECIPE = {
    "name": "tiny",
    "data": {"name": "org/set", "hub_token": "plain-words"},
    "train": {"lr": 1e-4, "betas": (0.9, 0.99)},
}
BASE64 = "dGhpc0lzQVZlcnlMb25nU2VjcmV0S2V5MTIz"


def crashed(folder, message="boom", source=RECIPE):
    """The text of the report of a crash in which `message` was said."""
    try:
        try:
            torch.zeros(2) + torch.zeros(3)
        except RuntimeError as error:
            raise KeyError(message) from error
    except KeyError as error:
        path = report(folder, source, error)
    return path and path.read_text()


@pytest.fixture
def run(tmp_path):
    """A run's directory, with a log and a last note."""
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(
            "".join(json.dumps({"step": i, "of": name}) + "\n" for i in range(50))
        )
    os.utime(tmp_path / "first/log.jsonl", (1, 1))
    note(tmp_path, stage="last", step=49)
    return tmp_path


def test_it_says_what_happened_where_and_with_what(run):
    text = crashed(run)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## What happened",
        "## Versions",
        "## Recipe",
        "## Last lines of the log",
        "## Last status",
    ]
    for part in (
        "RuntimeError: The size of tensor a",
        "test_crash_report.py",
        "KeyError: 'boom'",
        f"torch: {version('torch')}",
        "commit: ",
        "platform: ",
        "python: 3.",
        "lr: 0.0001",
        "- 0.9\n",
        '{"step": 49, "of": "last"}',
        '"stage": "last"',
    ):
        assert part in text, part
    assert '"step": 30,' in text and '"step": 29,' not in text and "first" not in text
    assert next(run.glob("crash-*.txt")).name.endswith("Z.txt")


def test_the_home_directory_is_a_tilde(run, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(__file__).parent))
    text = crashed(run)
    assert 'File "~/test_crash_report.py"' in text and str(Path(__file__).parent) not in text


@pytest.mark.parametrize(
    "secret",
    [
        "hf_abcdefGHIJKLmnop",
        "sk-proj-abcdef1234567890",
        "ghp_0123456789abcdefABCDEF",
        "github_pat_11ABC_defg123456",
        "AKIAIOSFODNN7EXAMPLE",
        "glpat-abcdefgh1234",
        BASE64,
        f"{BASE64}==",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbg",
    ],
)
def test_tokens_are_masked_wherever_they_are(secret, run):
    (run / "last/log.jsonl").write_text(json.dumps({"step": 1, "note": secret}) + "\n")
    note(run, stage=secret)
    text = crashed(run, f"denied for {secret} at last", RECIPE | {"data": [secret, {"path": f"x/{secret}"}]})
    assert (
        secret.rstrip("=") not in text
        and text.count("[masked]") >= 4
        and "denied for" in text
        and "at last" in text
    )


@pytest.mark.parametrize(
    "text, secret",
    [
        ("https://me:pass-word@host/x", "pass-word"),
        ("s3://me@bucket", "me"),
        ("api_key = 'abc'", "abc"),
        ("WANDB_KEY=abc", "abc"),
        ('{"password": "abc def"}', "def"),
        ("Authorization: Bearer abcdefgh.ijk", "abcdefgh"),
        ("my-secret: abc", "abc"),
        ("token='abc', other=1", "abc"),
        ("?access_token=abc&x=1", "abc"),
    ],
)
def test_settings_that_are_secrets_are_masked(text, secret):
    assert secret not in masked(text) and "[masked]" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'teacher'",
        "3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed",
        "step 100000 of 200000",
        (
            'File "/opt/conda/envs/MyEnv22/lib/python3.12/site-packages/torch/nn/modules/module.py", '
            "line 1775, in _call_impl"
        ),
        "FeatureExtractorInceptionV3Compat",
        "weights-inception-2015-12-05-6726825d.pth",
        "for key, value in items:",
        "stages.progressive-4.train.betas",
        "2026-01-01T00:00:00+00:00",
    ],
)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text


def test_the_environment_stays_out(run, monkeypatch):
    monkeypatch.setenv("SOME_SETTING", "very-private-words")
    assert "very-private-words" not in crashed(run)


def test_it_never_raises(tmp_path, monkeypatch):
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert report(tmp_path / "nosuch", RECIPE, KeyError("x")) is None
    source = {"a": object(), 3: {None: [float("nan"), 1 + 2j, b"x"]}}
    source["self"] = source
    assert "Recipe\n\nnot available (RecursionError)" in report(tmp_path, source, Odd()).read_text()
    (tmp_path / "status.json").write_bytes(b"\xff\xfe" * 100_000)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert len(report(tmp_path, RECIPE, KeyError("x" * 10**6)).read_text()) < 65_536


def test_processes_do_not_write_over_each_other(run, monkeypatch):
    crashed(run)
    monkeypatch.setenv("RANK", "3")
    crashed(run)
    assert len(list(run.glob("crash-*.txt"))) == 2 and len(list(run.glob("crash-*-process-3.txt"))) == 1
