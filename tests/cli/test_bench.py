"""The bench command: rows, what cannot be measured, axes."""

import json

import pytest

from fastdiff.evaluation.summary import models_only
from fastdiff.samplers import SAMPLERS
from tests.helpers.rows import model_rows

# ---- bench and report


def test_bench(finished, fastdiff, tmp_path):
    teacher, out = finished[1] / "teacher", tmp_path / "bench"
    words = ["bench", teacher, "--data", "toy", "--out", out]
    words += ["--steps", "1,2", "--baselines", "ddpm:2", "--n", 8, "--seeds", "0,1"]
    code, text, err = fastdiff(*words)
    assert (
        code == 0
        and "ddpm" in text
        and (out / "report.html").is_file()
        and "teacher-ddpm-uniform-2  seed 1" in err
    )
    rows = model_rows(out)
    assert [(row["model"], row["sampler"], row["steps"], row["seed"]) for row in rows] == [
        ("teacher", *how, seed) for how in (("ddim", 1), ("ddim", 2), ("ddpm", 2)) for seed in (0, 1)
    ]
    code, text, err = fastdiff(*words, "--json")
    assert code == 0 and [json.loads(line) for line in text.splitlines()] == rows


@pytest.mark.parametrize(
    "words, message",
    [
        (["--data", "digits"], "makes samples of shape (2,), the data digits have (1, 8, 8)"),
        (["--data", "nosuch/no/such"], "no such file or folder"),
        (["--baselines", "ddpm"], "bench.baselines: 'ddpm': expected sampler:steps"),
        (["--steps", "0"], "bench.steps"),
        (["--steps", ""], "--steps : expected whole numbers"),
        (["--seeds", "a"], "--seeds a: expected whole numbers"),
        (["--n", "1"], "bench.n = 1"),
        (["--batch", "0"], "bench.batch = 0"),
        (["--resolution", "0"], "resolution"),
        (["--extractor", "inception"], "leave extractor out"),
        (["--out", "{tmp}/file.txt/x"], "cannot be written"),
    ],
)
def test_benches_that_cannot_be(words, message, finished, refused, tmp_path):
    (tmp_path / "file.txt").write_text("")
    words = [word.format(tmp=tmp_path) for word in words]
    defaults = ["--data", "toy", "--out", str(tmp_path / "out")]
    assert message in refused("bench", finished[1] / "teacher", *defaults, *words)


def test_speed_has_rows(points, fastdiff, tmp_path, monkeypatch):
    monkeypatch.setattr("fastdiff.samplers.SAMPLERS", {k: SAMPLERS[k] for k in ("ddim", "heun")})
    monkeypatch.setattr("fastdiff.evaluation.profiling.samplers.MIN_PASS_SECONDS", 0.0)
    code, out, err = fastdiff(
        "bench", points / "teacher", "--speed", "--steps", 2, "--out", tmp_path / "s", "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["sampler"] for row in rows] == ["ddim", "heun"]
    assert all(row["over_forward"] > 0 and row["over_diffusers"] > 0 and "commit" in row for row in rows)
    assert len((tmp_path / "s/speed.jsonl").read_text().splitlines()) == 2


@pytest.mark.long
def test_likelihood_is_a_column(points, fastdiff, tmp_path):
    words = [
        "bench",
        points / "teacher",
        points / "consistency",
        "--data",
        "toy",
        "--steps",
        1,
        "--baselines",
        "ddim:2",
        "--n",
        32,
        "--metrics",
        "nll",
        "--out",
        tmp_path / "b",
    ]
    code, out, err = fastdiff(*words, "--json")
    rows = {(row["model"], row["steps"]): row for row in map(json.loads, out.splitlines())}
    assert code == 0 and rows["consistency", 1]["nll"] is None
    assert rows["teacher", 1]["nll"] == rows["teacher", 2]["nll"] and abs(rows["teacher", 1]["nll"]) < 10
    bare = [word for word in words if word not in ("--metrics", "nll")]
    fastdiff(*bare)  # the figures stay, and are added to rows that were measured without
    assert all(row.get("nll", 0) != 0 for row in model_rows(tmp_path / "b"))
    count = len(model_rows(tmp_path / "b"))
    bare[-1] = words[-1] = tmp_path / "c"
    fastdiff(*bare)
    fastdiff(*words)
    lines = models_only(map(json.loads, (tmp_path / "c/bench.jsonl").read_text().splitlines()))
    assert len(lines) == 2 * count and len({line["key"] for line in lines}) == count
    assert [line["ms_per_image"] for line in lines[:count]] == [
        line["ms_per_image"] for line in lines[count:]
    ]
    fastdiff("report", tmp_path / "b")
    assert f"{rows['teacher', 1]['nll']:.3f}" in (tmp_path / "b/report.md").read_text()


# ---- judging and sweeping


def test_axes_of_a_sweep(points, fastdiff, refused, tmp_path):
    words = [
        "bench",
        points / "teacher",
        points / "consistency",
        "--data",
        "toy",
        "--n",
        32,
        "--out",
        tmp_path / "b",
    ]
    code, out, err = fastdiff(
        *words,
        "--samplers",
        "ddim[eta=0.5],heun",
        "--spacings",
        "uniform,karras[rho=5,start=0.9]",
        "--steps",
        2,
        "--baselines",
        "",
        "--json",
    )
    cells = {(row["model"], row["sampler"], row["spacing"]) for row in map(json.loads, out.splitlines())}
    assert code == 0 and len(cells) == 9 and ("consistency", "consistency", "uniform") in cells
    assert ("consistency", "ddim[eta=0.5]", "karras[rho=5,start=0.9]") in cells
    code, out, err = fastdiff(*words, "--steps", 1, "--baselines", "ddpm:900000", "--budget", "5s")
    assert (
        code == 0
        and "Skipped for lack of time (bench.budget): teacher-ddpm-uniform-900000 seed 0"
        in " ".join(out.split())
    )
    for option, value, message in (
        ("--guidance", "1,x", "expected numbers"),
        ("--guidance", "2", "needs labels"),
        ("--budget", "5", "such as 90s"),
        ("--samplers", "dim", "bench.samplers: 'dim' is unknown"),
        ("--clip", "0", "bench.clip = 0.0: expected above 0"),
        ("--metrics", "energy,score", "needs a feature network"),
    ):
        assert message in refused(*words, option, value)
