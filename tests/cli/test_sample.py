"""Commands over samplers: previews, edits, the search for times, the samplers' own speed, likelihood."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import mlp, unet
from fastdiff.samplers import SAMPLERS


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A tiny untrained model of 8 x 8 images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("images")
    export(
        Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)),
        folder,
        {"method": "denoising", "origin": {}, "ema": 0.0, "cost": {}},
    )
    return folder


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Tiny untrained models of points: a teacher and a student."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("points")
    for name, sampling in (
        ("teacher", Sampling()),
        ("consistency", Sampling("consistency", "uniform", (1, 2))),
    ):
        (folder / name).mkdir()
        net = mlp((2,), width=16, depth=1)
        torch.nn.init.normal_(net.last.weight, std=0.3)
        export(
            Denoiser(net, Cosine(), "v", (2,), sampling=sampling),
            folder / name,
            {"method": name, "origin": {}, "ema": 0.0, "cost": {}},
        )
    return folder


def test_previews_are_written_on_the_way(images, fastdiff, tmp_path):
    words = [
        "sample",
        images,
        "--n",
        2,
        "--sampler",
        "ddim",
        "--steps",
        6,
        "--preview",
        2,
        "--out",
        tmp_path / "x.png",
    ]
    code, _, err = fastdiff(*words)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in tmp_path.glob("*.png")) == [
        "x-state-0002.png",
        "x-state-0004.png",
        "x-state-0006.png",
        "x.png",
    ]


def test_an_image_is_edited(images, fastdiff, tmp_path):
    fastdiff("sample", images, "--n", 1, "--out", tmp_path / "given.png")
    Image.open(tmp_path / "given.png").resize((8, 8)).save(tmp_path / "small.png")
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")
    code, _, err = fastdiff(
        "sample",
        images,
        "--n",
        3,
        "--steps",
        4,
        "--sampler",
        "ddpm",
        "--image",
        tmp_path / "small.png",
        "--mask",
        tmp_path / "mask.png",
        "--out",
        tmp_path / "edited",
    )
    assert (code, err) == (0, "")
    given = np.asarray(Image.open(tmp_path / "small.png").convert("L"))
    drawn = [np.asarray(Image.open(p).convert("L")) for p in sorted((tmp_path / "edited").glob("*.png"))]
    assert len(drawn) == 3 and all((one[:4] == given[:4]).all() for one in drawn)
    assert any((one[4:] != given[4:]).any() for one in drawn)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", 0.5], "--mask, --strength and --resamplings change an image: give --image"),
        (["--image", "nosuch.png", "--strength", 0.5], "nosuch.png: expected an image file"),
        (["--guide", "clip=much"], "--guide.clip: input should be a valid number"),
        (["--guide", "clp=1"], "--guide.clp is unknown, did you mean clip?"),
        (["--guide", "bogus"], "--guide bogus: expected setting=value, separated by commas"),
        (["--guide", "rescale=0.5"], "rescale = 0.5 is about guidance"),
        (["--n", 0], "--n 0: expected at least 1"),
        (["--preview", -1], "--preview -1: expected at least 0"),
        (["--spacing", "karras[roh=5]"], "spacing karras.roh is unknown, did you mean rho?"),
    ],
)
def test_ways_to_sample_that_are_none(words, message, images, refused, tmp_path):
    assert message in refused("sample", images, "--sampler", "ddim", "--out", tmp_path / "x.png", *words)


def test_search_stores_what_it_finds(points, fastdiff, tmp_path):
    student = tmp_path / "run" / "student"
    shutil.copytree(points / "consistency", student)
    code, out, err = fastdiff("search", student, "--steps", 2, "--data", "toy", "--n", 64, "--rounds", 1)
    assert code == 0 and f"stored with {student}" in out
    (times,) = json.loads((student / "fastdiff.json").read_text())["sampling"]["times"]
    assert len(times) == 2 and times[0] > times[1] > 0
    assert len(err.splitlines()) >= 1


def test_speed_has_rows(points, fastdiff, tmp_path, monkeypatch):
    monkeypatch.setattr("fastdiff.samplers.SAMPLERS", {k: SAMPLERS[k] for k in ("ddim", "heun")})
    monkeypatch.setattr("fastdiff.evaluation.profiling.samplers.PASS", 0.0)
    code, out, err = fastdiff(
        "bench", points / "teacher", "--speed", "--steps", 2, "--out", tmp_path / "s", "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["sampler"] for row in rows] == ["ddim", "heun"]
    assert all(row["over_forward"] > 0 and row["over_diffusers"] > 0 and "commit" in row for row in rows)
    assert len((tmp_path / "s/speed.jsonl").read_text().splitlines()) == 2


def test_likelihood_is_a_column(points, fastdiff, tmp_path):
    words = [
        "bench",
        points / "teacher",
        points / "consistency",
        "--data",
        "toy",
        "--steps",
        1,
        "--against",
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
    assert all(
        json.loads(line).get("nll", 0) != 0 for line in (tmp_path / "b/bench.jsonl").read_text().splitlines()
    )
    times = [json.loads(line)["time"] for line in (tmp_path / "b/bench.jsonl").read_text().splitlines()]
    bare[-1] = words[-1] = tmp_path / "c"
    fastdiff(*bare)
    fastdiff(*words)
    lines = [json.loads(line) for line in (tmp_path / "c/bench.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * len(times) and len({line["key"] for line in lines}) == len(times)
    assert [line["ms_per_image"] for line in lines[: len(times)]] == [
        line["ms_per_image"] for line in lines[len(times) :]
    ]
    fastdiff("report", tmp_path / "b")
    assert f"{rows['teacher', 1]['nll']:.3f}" in (tmp_path / "b/report.md").read_text()


# ---- judging and sweeping


def test_images_from_elsewhere_are_judged(images, fastdiff, refused, tmp_path):
    fastdiff("sample", images, "--n", 16, "--steps", 1, "--out", tmp_path / "drawn")
    code, out, err = fastdiff("evaluate", tmp_path / "drawn", "--data", "digits", "--metrics", "fd,pr")
    names = [line.split()[0] for line in out.splitlines()]
    assert (
        code == 0
        and names[:2] == ["n", "fd_digits"]
        and "precision_digits" in names
        and "kd_digits" not in names
    )
    assert "mostly bias" in err  # 16 images in 64 dimensions
    code, out, err = fastdiff("evaluate", "digits", "--data", "digits", "--metrics", "fd,accuracy", "--json")
    found = json.loads(out)
    assert (
        code == 0
        and abs(found["fd_digits"]) < 1e-6
        and found["accuracy_digits"] > 0.98
        and found["n"] == 1797
    )
    assert "no images found" in refused("evaluate", images, "--data", "digits")
    assert "is (3, 8, 8), but toy is (2,)" in refused("evaluate", tmp_path / "drawn", "--data", "toy")
    assert "is unknown, choose from fd" in refused(
        "evaluate", tmp_path / "drawn", "--data", "digits", "--metrics", "fad"
    )
    Image.new("L", (9, 9)).save(tmp_path / "drawn" / "odd.png")
    assert "differ in size" in refused("evaluate", tmp_path / "drawn", "--data", "digits")


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
        "--against",
        "",
        "--json",
    )
    cells = {(row["model"], row["sampler"], row["spacing"]) for row in map(json.loads, out.splitlines())}
    assert code == 0 and len(cells) == 9 and ("consistency", "consistency", "uniform") in cells
    assert ("consistency", "ddim[eta=0.5]", "karras[rho=5,start=0.9]") in cells
    code, out, err = fastdiff(*words, "--steps", 1, "--against", "ddpm:900000", "--budget", "5s")
    assert (
        code == 0
        and "Left out, the time budget being spent: teacher-ddpm-uniform-900000 seed 0"
        in " ".join(out.split())
    )
    for option, value, message in (
        ("--guidance", "1,x", "expected numbers"),
        ("--guidance", "2", "needs labels"),
        ("--budget", "5", "such as 90s"),
        ("--samplers", "dim", "bench.samplers: 'dim' is unknown"),
        ("--clip", "0", "expected a bound above 0"),
        ("--metrics", "energy,score", "needs a feature network"),
    ):
        assert message in refused(*words, option, value)
