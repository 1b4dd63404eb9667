"""The sweep measures what it says, once; and the public names of the package work as the documentation shows them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import fastdiff
from fastdiff.core.cost import flops
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation import evaluator as evaluate
from fastdiff.evaluation.config import BenchConfig, Cell, baseline
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import current_rows
from fastdiff.evaluation.sweep import cells, sweep
from fastdiff.io.export.model import export
from fastdiff.networks import mlp, unet

CONFIG = BenchConfig(steps=(1, 2), baselines=("ddpm:3", "dpmpp_2m/karras:2"), n=12, seeds=(0, 1), batch=5)
COLUMNS = {
    "key", "model", "method", "sampler", "spacing", "steps", "nfe", "guidance", "clip", "seed", "n", "energy",
    "ms_per_image", "images_per_s", "peak_mb", "params", "extractor", "reference", "ema", "device", "processes",
    "versions", "commit", "time", "cell", "weights", "train_images", "train_seconds", "teacher_nfe",
    "energy_se", "swd", "precision", "recall", "density", "coverage", "nearest", "diversity", "metrics", "dims", "batch",
    "flops_per_image", "teacher",
}  # fmt: skip


def model(seed: int = 0, sampling: Sampling | None = None, classes: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    net = mlp((2,), classes, width=8, depth=1)
    torch.nn.init.normal_(net.last.weight)
    return Denoiser(net, Cosine(), "v", (2,), sampling=sampling or Sampling()).eval()


def stored(folder, made: Denoiser, method: str):
    folder.mkdir(parents=True, exist_ok=True)
    cost = {"images": 640, "seconds": 1.5, "teacher_nfe": 1280}
    export(made, folder, {"method": method, "origin": {}, "ema": 0.9, "cost": cost})
    return folder


@pytest.fixture(scope="module")
def toy():
    return open_dataset("toy", n=50)


@pytest.fixture
def models(tmp_path):
    student = model(1, Sampling("ddim", "uniform", (2,), only=True))
    return {
        "teacher": stored(tmp_path / "run/teacher", model(), "denoising"),
        "halved": stored(tmp_path / "run/halved", student, "progressive"),
    }


# Cells


def test_cells_are_the_teachers_baselines_and_the_students_cheap_ones_first():
    free = model(sampling=Sampling("consistency", "uniform", (1, 2)))
    models = {"free": free, "teacher": model(), "only": model(sampling=Sampling(steps=(2, 4), only=True))}
    assert cells(models, "teacher", CONFIG) == [
        Cell("teacher", "ddim", "uniform", 1),
        Cell("free", "consistency", "uniform", 1),
        Cell("teacher", "ddim", "uniform", 2),
        Cell("teacher", "dpmpp_2m", "karras", 2),
        Cell("free", "consistency", "uniform", 2),
        Cell("only", "ddim", "uniform", 2),
        Cell("teacher", "ddpm", "uniform", 3),
        Cell("only", "ddim", "uniform", 4),
    ]
    assert [cell.model for cell in cells(models, None, CONFIG)] == [
        "free",
        "teacher",
        "free",
        "teacher",
        "only",
        "only",
    ]
    chosen = cells(models, "teacher", BenchConfig(steps=(1,), baselines=("ddim:1",), models=("only", "free")))
    assert [str(cell) for cell in chosen] == [
        "teacher-ddim-uniform-1",
        "free-consistency-uniform-1",
        "only-ddim-uniform-2",
        "only-ddim-uniform-4",
    ]


def test_baselines():
    assert baseline("ddpm:1000") == ("ddpm", "uniform", 1000)
    assert baseline("dpmpp_2m/karras:8") == ("dpmpp_2m", "karras", 8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ddpm",
        "ddpm:",
        "ddpm:0",
        "ddpm:-1",
        "ddpm:1.5",
        "ddpm:²",
        "dpm:5",
        "ddpm/cubic:5",
        ":5",
        "ddpm/:x",
        "ddpm:5:5",
    ],
)
def test_bad_baselines(text):
    with pytest.raises(FastdiffError, match="expected sampler:steps or sampler/spacing:steps"):
        BenchConfig(baselines=(text,))


@pytest.mark.parametrize(
    "name, value", [("n", 1), ("batch", 0), ("steps", ()), ("steps", (1, 0)), ("seeds", ()), ("clip", 0.0)]
)
def test_bad_settings(name, value):
    with pytest.raises(FastdiffError, match=f"^bench.{name} = "):
        BenchConfig(**{name: value})


# The sweep


def test_rows_have_every_column_and_are_measured_once(models, toy, tmp_path):
    rows = list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))
    assert len(rows) == 2 * (2 + 2 + 1) and all(set(row) == COLUMNS for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
    first = rows[0]
    assert (
        first.items()
        >= {
            "model": "teacher",
            "sampler": "ddim",
            "spacing": "uniform",
            "steps": 1,
            "nfe": 1,
            "guidance": 1.0,
            "seed": 0,
            "n": 12,
            "extractor": "none",
        }.items()
    )
    assert (first["method"], first["ema"], first["train_images"], first["teacher_nfe"]) == (
        "denoising",
        0.9,
        640,
        1280,
    )
    assert first["params"] == sum(p.numel() for p in model().net.parameters())
    assert (first["reference"], first["processes"]) == (toy.fingerprint, 1) and first["device"]
    assert set(first["versions"]) == {"fastdiff", "torch", "diffusers", "torch-fidelity"}
    assert first["images_per_s"] == pytest.approx(1000 / first["ms_per_image"]) and first["peak_mb"] > 1
    assert {row["nfe"] for row in rows if row["sampler"] == "ddpm"} == {3}
    assert rows[0]["energy"] != rows[1]["energy"]  # seeds differ
    assert (first["metrics"], first["dims"], first["batch"]) == (["energy", "pr", "swd"], 2, 5)
    assert [row["flops_per_image"] for row in rows[:5:2]] == [
        flops(model()) * row["nfe"] for row in rows[:5:2]
    ]
    lines = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert (tmp_path / "out/samples/halved-ddim-uniform-2.png").is_file() and (
        tmp_path / "out/samples/real.png"
    ).is_file()
    terms = load_file(tmp_path / f"out/influence/{first['key']}.safetensors")
    assert {name: len(part) for name, part in terms.items()} == {
        "energy.generated": 12,
        "energy.reference": 50,
    }

    again = list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))
    assert again == rows and (tmp_path / "out/bench.jsonl").read_text().splitlines() == lines


def test_an_interrupted_sweep_goes_on(models, toy, tmp_path):
    going = sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher")
    head = [next(going) for _ in range(3)]
    going.close()
    assert list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))[:3] == head
    assert len((tmp_path / "out/bench.jsonl").read_text().splitlines()) == 10


def test_what_changes_a_figure_gets_rows_of_its_own(models, toy, tmp_path):
    def swept(dataset=toy, **changes):
        config = BenchConfig(**{"steps": (2,), "baselines": (), "n": 12} | changes)
        return list(sweep(models, dataset, config, tmp_path / "out", teacher="teacher"))

    old = swept()
    stored(
        models["halved"], model(7, Sampling("ddim", "uniform", (2,), only=True)), "progressive"
    )  # trained again
    new = swept()
    assert new[0] == old[0] and new[1]["key"] != old[1]["key"] and new[1]["energy"] != old[1]["energy"]
    others = [swept(n=13), swept(seeds=(1,)), swept(clip=1.0), swept(open_dataset("toy", n=50, seed=1))]
    assert len({rows[0]["key"] for rows in (old, *others)}) == 5
    assert swept(batch=3) == new  # not measured again, but said again: now it holds
    lines = [json.loads(line) for line in (tmp_path / "out/bench.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == 3 + 2 * 4
    assert [line["key"] for line in lines[-2:]] == [row["key"] for row in new]


def test_figures_do_not_depend_on_the_batch(models, toy, tmp_path):
    settings = {"steps": (2,), "baselines": ("ddpm:3",), "n": 12}
    one, two = (
        list(
            sweep(models, toy, BenchConfig(batch=batch, **settings), tmp_path / str(batch), teacher="teacher")
        )
        for batch in (12, 5)
    )
    assert [a["energy"] for a in one] == pytest.approx([b["energy"] for b in two], rel=1e-4)


def test_labels_and_guidance(tmp_path):
    vectors, labels = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    data = Dataset("dots", vectors, labels, 3)
    paths = {"teacher": stored(tmp_path / "teacher", model(classes=3), "denoising")}

    def swept(dataset=data, **changes):
        config = BenchConfig(**{"steps": (2,), "baselines": (), "n": 8} | changes)
        return next(sweep(paths, dataset, config, tmp_path / "out", teacher="teacher"))

    assert swept()["nfe"] == 2 and swept(guidance=2.0)["nfe"] == 4
    assert swept(Dataset("dots", vectors))["energy"] != swept()["energy"]  # unlabelled data: no condition
    with pytest.raises(FastdiffError, match="guidance = 2: needs labels"):
        swept(Dataset("dots", vectors), guidance=2.0)
    with pytest.raises(FastdiffError, match="labels must be 0 to 2, got 0 to 4"):
        swept(Dataset("dots", vectors, torch.arange(20) % 5, 5))


def test_what_cannot_be_measured(models, toy, tmp_path):
    def swept(dataset=toy, out=tmp_path / "out", teacher="teacher", **changes):
        return list(sweep(models, dataset, BenchConfig(steps=(2,), n=8, **changes), out, teacher=teacher))

    with pytest.raises(
        FastdiffError, match=r"teacher makes samples of shape \(2,\), the data digits have \(1, 8, 8\)"
    ):
        swept(open_dataset("digits"))
    with pytest.raises(FastdiffError, match="teacher 'nobody' is not among the models teacher, halved"):
        swept(teacher="nobody")
    with pytest.raises(FastdiffError, match="not for ddim at 50"):
        swept(teacher="halved", baselines=("ddim:50",))
    with pytest.raises(FastdiffError, match="leave extractor out"):
        swept(extractor="inception")
    with pytest.raises(FastdiffError, match="guidance = 3: needs labels"):
        swept(guidance=3.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(FastdiffError, match="cannot be written .* with --out"):
        swept(out=tmp_path / "file" / "x")
    assert not (tmp_path / "out" / "bench.jsonl").exists()


# Its axes, its time, its neighbours


def test_samplers_spacings_and_guidance_are_axes(tmp_path):
    free = model(sampling=Sampling("consistency", "uniform", (1, 2)))
    models = {"teacher": model(), "free": free, "only": model(sampling=Sampling(steps=(2,), only=True))}
    config = BenchConfig(
        steps=(2,),
        samplers=("ddim", "heun"),
        spacings=("uniform", "karras"),
        guidance=(1, 3.0),
        baselines=("ddim:2", "ddpm:3"),
    )
    found = list(map(str, cells(models, "teacher", config)))
    grids = [f"{sampler}-{spacing}-2" for sampler in ("ddim", "heun") for spacing in ("uniform", "karras")]
    ways = [way for grid in grids for way in (grid, f"{grid}-w3")]
    assert sorted(found) == sorted(
        [f"teacher-{way}" for way in (*ways, "ddpm-uniform-3", "ddpm-uniform-3-w3")]
        + [f"free-{way}" for way in (*ways, "consistency-uniform-2", "consistency-uniform-2-w3")]
        + ["only-ddim-uniform-2", "only-ddim-uniform-2-w3"]
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"samplers": ("ddin",)}, "bench.samplers: 'ddin' is unknown"),
        ({"spacings": ("cubic",)}, "bench.spacings: 'cubic' is unknown"),
        ({"guidance": ()}, "bench.guidance = "),
        ({"metrics": ("fid",)}, "bench.metrics: 'fid' is unknown, choose"),
        ({"budget": "soon"}, "bench.budget = 'soon': expected a time such as 90s, 10m or 2h"),
        ({"budget": "10"}, "bench.budget"),
        ({"metrics": ("pr", "nll")}, "bench.metrics = .* expected a distance among them"),
    ],
)
def test_bad_axes_and_budgets(settings, message):
    with pytest.raises(FastdiffError, match=message):
        BenchConfig(**settings)


def test_budgets_are_read():
    assert [BenchConfig(budget=text).seconds for text in ("90s", "1.5m", "2h", None)] == [
        90,
        90,
        7200,
        float("inf"),
    ]


@pytest.mark.alone
def test_a_budget_leaves_out_what_would_exceed_it_and_says_so(models, toy, tmp_path):
    config = BenchConfig(steps=(1, 2), baselines=("ddpm:500000",), n=12, budget="20s")
    began = time.monotonic()
    rows = list(sweep(models, toy, config, tmp_path / "out", teacher="teacher"))
    assert {row["cell"] for row in rows} == {
        "teacher-ddim-uniform-1",
        "teacher-ddim-uniform-2",
        "halved-ddim-uniform-2",
    }
    assert time.monotonic() - began < 20
    left = json.loads((tmp_path / "out/left-out.json").read_text())
    assert left == ["teacher-ddpm-uniform-500000 seed 0"]
    list(
        sweep(models, toy, BenchConfig(steps=(1, 2), baselines=(), n=12), tmp_path / "out", teacher="teacher")
    )
    assert not (tmp_path / "out/left-out.json").exists()


def test_metrics_asked_for_later_are_added_to_the_row(models, toy, tmp_path):
    def swept(*metrics):
        return list(
            sweep(
                models,
                toy,
                BenchConfig(steps=(1,), baselines=(), n=12, metrics=metrics or None),
                tmp_path,
                teacher="teacher",
            )
        )[0]

    energy = swept("energy")
    assert energy["metrics"] == ["energy"] and "swd" not in energy
    both = swept("swd")
    assert both["key"] == energy["key"] and both["metrics"] == ["energy", "swd"]
    assert both["energy"] == energy["energy"] and both["swd"] > 0
    assert swept("energy") == swept("swd") == both  # nothing is measured twice
    with_bits = swept("nll", "swd")
    assert with_bits["nll"] is not None and {**with_bits, "nll": None} == {**both, "nll": None}


def test_what_was_asked_for_last_is_what_a_report_shows(models, toy, tmp_path):
    """Rows read back count as new: of another network or other weights those measured since are passed over again."""

    def swept():
        config = BenchConfig(steps=(2,), baselines=(), n=12, models=("halved",))
        return [
            row
            for row in sweep(models, toy, config, tmp_path / "out", teacher="teacher")
            if row["model"] == "halved"
        ]

    def shown():
        return [
            row for row in current_rows(read_rows(tmp_path / "out/bench.jsonl")) if row["model"] == "halved"
        ]

    kept = {path: path.read_bytes() for path in models["halved"].rglob("*") if path.is_file()}
    old = swept()
    stored(models["halved"], model(7, Sampling("ddim", "uniform", (2,), only=True)), "progressive")
    new = swept()
    assert shown() == new and new[0]["key"] != old[0]["key"]
    for path, content in kept.items():  # the former weights return
        path.write_bytes(content)
    assert swept() == old == shown()
    lines = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    assert swept() == old and (tmp_path / "out/bench.jsonl").read_text().splitlines() == lines


def test_pictures_are_of_one_noise_whatever_the_seeds(models, toy, tmp_path):
    config = {"steps": (1,), "baselines": (), "n": 12}
    for seeds, out in (((0,), "a"), ((1, 2), "b")):
        list(sweep(models, toy, BenchConfig(seeds=seeds, **config), tmp_path / out, teacher="teacher"))
    names = sorted(path.name for path in (tmp_path / "a/samples").iterdir())
    assert len(names) > 1
    for name in names:
        a, b = (np.asarray(Image.open(tmp_path / out / "samples" / name)).astype(int) for out in "ab")
        assert np.abs(a - b).max() <= 1, name


def test_a_second_sweep_into_the_same_directory_is_refused(models, toy, tmp_path):
    going = sweep(models, toy, CONFIG, tmp_path, teacher="teacher")
    next(going)
    with pytest.raises(FastdiffError, match="is being written by .*another --out"):
        next(sweep(models, toy, CONFIG, tmp_path, teacher="teacher"))
    going.close()
    assert len(list(sweep(models, toy, CONFIG, tmp_path, teacher="teacher"))) == 10


def test_a_broken_sample_stands_in_the_row(toy, tmp_path):
    broken = model()
    with torch.no_grad():
        broken.net.last.bias += float("nan")
    [row] = sweep(
        {"teacher": stored(tmp_path / "nan", broken, "denoising")},
        toy,
        BenchConfig(steps=(1,), baselines=(), n=12),
        tmp_path / "out",
        teacher="teacher",
    )
    assert row["broken"] == list(range(10)) and row["energy"] == float("inf")
    line = json.loads((tmp_path / "out/bench.jsonl").read_text(), parse_constant=pytest.fail)  # strict JSON
    assert line["energy"] is None and read_rows(tmp_path / "out/bench.jsonl")[0]["energy"] == float("inf")


def test_pictures_that_are_kept(tmp_path):
    torch.manual_seed(0)
    digits = open_dataset("digits")
    net = unet((1, 8, 8), channels=(8,), layers=1)
    torch.nn.init.normal_(net.module.conv_out.weight)
    path = stored(tmp_path / "teacher", Denoiser(net, Cosine(), "v", (1, 8, 8)).eval(), "denoising")
    config = BenchConfig(steps=(1, 3), baselines=("ddim:20",), n=100, batch=30)
    list(sweep({"teacher": path}, digits, config, tmp_path, teacher="teacher"))
    opened = {p.relative_to(tmp_path): Image.open(p) for p in tmp_path.glob("*/*.png")}
    sizes = {str(p): image.size for p, image in opened.items()}
    assert sizes == {
        "samples/real.png": (128, 32),
        **{f"samples/teacher-ddim-uniform-{k}.png": (128, 32) for k in (1, 3, 20)},
        "trajectory/teacher-ddim-uniform-3.png": (24, 64),
        "trajectory/teacher-ddim-uniform-20.png": (80, 64),
    }
    sheet, way = (
        np.asarray(opened[Path(f"{kind}/teacher-ddim-uniform-20.png")]) for kind in ("samples", "trajectory")
    )
    for i in range(8):  # the way ends at the sheet's sample
        assert (
            np.abs(sheet[:8, 8 * i : 8 * i + 8].astype(int) - way[8 * i : 8 * i + 8, 72:].astype(int)).max()
            <= 1
        )
    real = np.asarray(opened[Path("samples/real.png")])
    assert np.array_equal(real[8:16, :8], digits.examples[16, 0].numpy())


MEMORY = """
import sys, torch
from fastdiff.evaluation.sweep import BenchConfig, sweep
from fastdiff.data import open_dataset
torch.set_num_threads(1)
config = BenchConfig(steps=(2,), baselines=(), n=int(sys.argv[1]), batch=256)
[row] = sweep({"teacher": sys.argv[2]}, open_dataset("digits"), config, sys.argv[3], teacher="teacher")
print(row["peak_mb"])
"""


def test_memory_does_not_grow_with_n(tmp_path):
    torch.manual_seed(0)
    net = Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)).eval()
    path = stored(tmp_path / "teacher", net, "denoising")
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, str(n), path, tmp_path / str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (2000, 20_000)
    )
    assert many < 1.1 * few


@pytest.mark.alone
def test_judging_costs_little_beside_sampling(tmp_path):
    """Under 5 % of DDIM at 50 steps, of the shipped digits teacher in digit features."""
    path, digits = Path(__file__).parents[2] / "checkpoints/digits/teacher", open_dataset("digits")
    judging = []

    class Timed(evaluate.Evaluator):
        def add(self, *args):
            began = time.perf_counter()
            super().add(*args)
            judging.append(time.perf_counter() - began)

        def result(self, accelerator):
            began = time.perf_counter()
            found = super().result(accelerator)
            judging.append(time.perf_counter() - began)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "Evaluator", Timed)
        list(
            sweep(
                {"teacher": path},
                digits,
                BenchConfig(steps=(1,), baselines=(), n=512),
                tmp_path,
                teacher="teacher",
            )
        )
        judging.clear()
        [_, row] = sweep(
            {"teacher": path},
            digits,
            BenchConfig(steps=(1,), baselines=("ddim:50",), n=512),
            tmp_path,
            teacher="teacher",
        )
    assert sum(judging) < 0.05 * 512 / row["images_per_s"]


# The public names, line by line


def test_the_documented_example(tmp_path, toy):
    teacher_path = stored(tmp_path / "checkpoints/toy/teacher", model(), "denoising")
    student_path = stored(
        tmp_path / "checkpoints/toy/student", model(1, Sampling("consistency", "uniform", (2, 4))), "ect"
    )
    net, schedule = mlp((2,), 0, width=8, depth=1), fastdiff.SCHEDULES["cosine"]()

    loaded = fastdiff.load(str(teacher_path))
    assert isinstance(loaded, fastdiff.Denoiser)
    images = fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0)
    assert images.shape == (6, 2) and images.is_floating_point() and images.isfinite().all()
    assert torch.equal(
        images, fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0, spacing="uniform", batch=6, eta=0.0)
    )
    student = fastdiff.load(str(student_path))
    images = fastdiff.sample(student, steps=2, n=6, seed=0)
    assert torch.equal(images, fastdiff.sample(student, "consistency", steps=2, n=6, seed=0))
    grid = fastdiff.time_grid(loaded.schedule, 8, "trailing")
    assert len(grid) == 9 and grid[-1] == 0 and (grid.diff() < 0).all()
    bare = fastdiff.Denoiser(net, schedule, "v")
    denoise = fastdiff.Guided(bare, cond=None, guidance=1.0, clip=None)
    assert denoise.nfe == 0
    seen = []
    for state in fastdiff.SAMPLERS["ddim"](denoise, torch.randn(3, 2), grid):
        seen.append(state)
    assert (len(seen), denoise.nfe) == (8, 8) and seen[-1].t == 0 and torch.equal(seen[-1].x, seen[-1].x0)
    assert {"denoising", "progressive", "ect"} <= set(fastdiff.METHODS)
    assert set(fastdiff.SCHEDULES) == {"ddpm", "cosine", "sigmoid", "vp", "flow", "karras", "trig"}
    assert {"digits", "toy"} <= set(fastdiff.DATASETS)
    assert all(
        type(names) is dict
        for names in (fastdiff.SAMPLERS, fastdiff.METHODS, fastdiff.SCHEDULES, fastdiff.DATASETS)
    )
    means, stds, weights = (
        torch.tensor([[-1.0, 0.0], [1.0, 0.0]]),
        torch.tensor([0.1, 0.1]),
        torch.tensor([0.5, 0.5]),
    )
    exact = fastdiff.networks.oracle.GaussianMixture(means, stds, weights, fastdiff.SCHEDULES["flow"]())
    drawn = fastdiff.sample(exact, "heun", steps=20, n=64, seed=0)
    assert ((drawn[:, None] - means).norm(dim=2).min(1).values < 0.6).all() and (
        drawn[:, 0] > 0
    ).float().mean() > 0.2
    points = fastdiff.networks.oracle.Points(means, schedule)
    nearest = torch.cdist(fastdiff.sample(points, "ddim", steps=20, n=8, seed=0), means).min(1).values
    assert (nearest < 1e-3).all()
    assert fastdiff.SCHEDULES["vp"](beta_max=15.0).beta_max == 15.0
    config = fastdiff.BenchConfig(steps=(2,), baselines=(), n=8)
    paths = {"teacher": teacher_path, "student": student_path}
    rows = fastdiff.sweep(paths, toy, config, tmp_path / "bench", teacher="teacher")
    assert [row["model"] for row in rows] == ["teacher", "student"]
    with pytest.raises(fastdiff.FastdiffError):
        fastdiff.load(str(tmp_path / "nosuch"))
    assert issubclass(fastdiff.FastdiffError, Exception)


def test_every_public_name_is_there():
    assert set(fastdiff.__all__) <= set(dir(fastdiff))
    assert all(getattr(fastdiff, name) is not None for name in fastdiff.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = fastdiff.nosuch
