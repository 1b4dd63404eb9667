"""The sweep measures what it says, once; and the public names of the package work as the documentation shows them."""

import json

import pytest
import torch

import fastdiff
from fastdiff.bench import BenchConfig, Cell, baseline, cells, sweep
from fastdiff.checkpoint import export
from fastdiff.data import Dataset, open_dataset
from fastdiff.denoiser import Denoiser, Sampling
from fastdiff.errors import FastdiffError
from fastdiff.networks import mlp
from fastdiff.schedule import Cosine

CONFIG = BenchConfig(steps=(1, 2), baselines=("ddpm:3", "dpmpp_2m/karras:2"), n=12, seeds=(0, 1), batch=5)
COLUMNS = {
    "key", "model", "method", "sampler", "spacing", "steps", "nfe", "guidance", "clip", "seed", "n", "energy",
    "ms_per_image", "images_per_s", "peak_mb", "params", "extractor", "reference", "ema", "device", "processes",
    "versions", "commit", "time", "cell", "weights", "train_images", "train_seconds", "teacher_nfe",
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
    return {"teacher": stored(tmp_path / "run/teacher", model(), "denoising"),
            "halved": stored(tmp_path / "run/halved", student, "progressive")}


# Cells


def test_cells_are_the_teachers_baselines_and_the_students_cheap_ones_first():
    free = model(sampling=Sampling("consistency", "uniform", (1, 2)))
    models = {"free": free, "teacher": model(), "only": model(sampling=Sampling(steps=(2, 4), only=True))}
    assert cells(models, "teacher", CONFIG) == [
        Cell("teacher", "ddim", "uniform", 1), Cell("free", "consistency", "uniform", 1),
        Cell("teacher", "ddim", "uniform", 2), Cell("teacher", "dpmpp_2m", "karras", 2),
        Cell("free", "consistency", "uniform", 2), Cell("only", "ddim", "uniform", 2),
        Cell("teacher", "ddpm", "uniform", 3), Cell("only", "ddim", "uniform", 4)]
    assert [cell.model for cell in cells(models, None, CONFIG)] == ["free", "teacher", "free", "teacher", "only", "only"]
    chosen = cells(models, "teacher", BenchConfig(steps=(1,), baselines=("ddim:1",), models=("only", "free")))
    assert [str(cell) for cell in chosen] == [
        "teacher-ddim-uniform-1", "free-consistency-uniform-1", "only-ddim-uniform-2", "only-ddim-uniform-4"]


def test_baselines():
    assert baseline("ddpm:1000") == ("ddpm", "uniform", 1000)
    assert baseline("dpmpp_2m/karras:8") == ("dpmpp_2m", "karras", 8)


@pytest.mark.parametrize("text", ["", "ddpm", "ddpm:", "ddpm:0", "ddpm:-1", "ddpm:1.5", "ddpm:²", "dpm:5", "ddpm/cubic:5",
                                  ":5", "ddpm/:x", "ddpm:5:5"])
def test_bad_baselines(text):
    with pytest.raises(FastdiffError, match="expected sampler:steps or sampler/spacing:steps"):
        BenchConfig(baselines=(text,))


@pytest.mark.parametrize("name, value", [("n", 1), ("batch", 0), ("steps", ()), ("steps", (1, 0)), ("seeds", ()),
                                         ("clip", 0.0)])
def test_bad_settings(name, value):
    with pytest.raises(FastdiffError, match=f"^bench.{name} = "):
        BenchConfig(**{name: value})


# The sweep


def test_rows_have_every_column_and_are_measured_once(models, toy, tmp_path):
    rows = list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))
    assert len(rows) == 2 * (2 + 2 + 1) and all(set(row) == COLUMNS for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
    first = rows[0]
    assert first.items() >= {"model": "teacher", "sampler": "ddim", "spacing": "uniform", "steps": 1, "nfe": 1,
                             "guidance": 1.0, "seed": 0, "n": 12, "extractor": "none"}.items()
    assert (first["method"], first["ema"], first["train_images"], first["teacher_nfe"]) == ("denoising", 0.9, 640, 1280)
    assert first["params"] == sum(p.numel() for p in model().net.parameters())
    assert (first["reference"], first["processes"]) == (toy.fingerprint, 1) and first["device"]
    assert set(first["versions"]) == {"fastdiff", "torch", "diffusers", "torch-fidelity"}
    assert first["images_per_s"] == pytest.approx(1000 / first["ms_per_image"]) and first["peak_mb"] > 1
    assert {row["nfe"] for row in rows if row["sampler"] == "ddpm"} == {3}
    assert rows[0]["energy"] != rows[1]["energy"]                                     # seeds differ
    lines = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert (tmp_path / "out/samples/halved-ddim-uniform-2.png").is_file()

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
    stored(models["halved"], model(7, Sampling("ddim", "uniform", (2,), only=True)), "progressive")       # trained again
    new = swept()
    assert new[0] == old[0] and new[1]["key"] != old[1]["key"] and new[1]["energy"] != old[1]["energy"]
    others = [swept(n=13), swept(seeds=(1,)), swept(clip=1.0), swept(open_dataset("toy", n=50, seed=1))]
    assert len({rows[0]["key"] for rows in (old, *others)}) == 5
    assert swept(batch=3) == new and len((tmp_path / "out/bench.jsonl").read_text().splitlines()) == 3 + 2 * 4


def test_figures_do_not_depend_on_the_batch(models, toy, tmp_path):
    settings = {"steps": (2,), "baselines": ("ddpm:3",), "n": 12}
    one, two = (list(sweep(models, toy, BenchConfig(batch=batch, **settings), tmp_path / str(batch), teacher="teacher"))
                for batch in (12, 5))
    assert [a["energy"] for a in one] == pytest.approx([b["energy"] for b in two], rel=1e-4)


def test_labels_and_guidance(tmp_path):
    vectors, labels = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    data = Dataset("dots", vectors, labels, 3)
    paths = {"teacher": stored(tmp_path / "teacher", model(classes=3), "denoising")}

    def swept(dataset=data, **changes):
        config = BenchConfig(**{"steps": (2,), "baselines": (), "n": 8} | changes)
        return next(sweep(paths, dataset, config, tmp_path / "out", teacher="teacher"))

    assert swept()["nfe"] == 2 and swept(guidance=2.0)["nfe"] == 4
    assert swept(Dataset("dots", vectors))["energy"] != swept()["energy"]                  # unlabelled data: no condition
    with pytest.raises(FastdiffError, match="guidance = 2.0: needs labels"):
        swept(Dataset("dots", vectors), guidance=2.0)
    with pytest.raises(FastdiffError, match="labels must be 0 to 2, got 0 to 4"):
        swept(Dataset("dots", vectors, torch.arange(20) % 5, 5))


def test_what_cannot_be_measured(models, toy, tmp_path):
    def swept(dataset=toy, out=tmp_path / "out", teacher="teacher", **changes):
        return list(sweep(models, dataset, BenchConfig(steps=(2,), n=8, **changes), out, teacher=teacher))

    with pytest.raises(FastdiffError, match=r"teacher makes samples of shape \(2,\), the data digits have \(1, 8, 8\)"):
        swept(open_dataset("digits"))
    with pytest.raises(FastdiffError, match="teacher 'nobody' is not among the models teacher, halved"):
        swept(teacher="nobody")
    with pytest.raises(FastdiffError, match="not for ddim at 50"):
        swept(teacher="halved", baselines=("ddim:50",))
    with pytest.raises(FastdiffError, match="leave extractor out"):
        swept(extractor="inception")
    with pytest.raises(FastdiffError, match="guidance = 3.0: needs labels"):
        swept(guidance=3.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(FastdiffError, match="cannot be written .* with --out"):
        swept(out=tmp_path / "file" / "x")
    assert not (tmp_path / "out" / "bench.jsonl").exists()


# The public names, line by line


def test_the_documented_example(tmp_path, toy):
    teacher_path = stored(tmp_path / "checkpoints/toy/teacher", model(), "denoising")
    student_path = stored(tmp_path / "checkpoints/toy/student", model(1, Sampling("consistency", "uniform", (2, 4))), "ect")
    net, schedule = mlp((2,), 0, width=8, depth=1), fastdiff.SCHEDULES["cosine"]()

    loaded = fastdiff.load(str(teacher_path))
    assert isinstance(loaded, fastdiff.Denoiser)
    images = fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0)
    assert images.shape == (6, 2) and images.is_floating_point() and images.isfinite().all()
    assert torch.equal(images, fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0, spacing="uniform", batch=6, eta=0.0))
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
    assert all(type(names) is dict for names in (fastdiff.SAMPLERS, fastdiff.METHODS, fastdiff.SCHEDULES, fastdiff.DATASETS))
    means, stds, weights = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.1, 0.1]), torch.tensor([0.5, 0.5])
    exact = fastdiff.networks.oracle.GaussianMixture(means, stds, weights, fastdiff.SCHEDULES["flow"]())
    drawn = fastdiff.sample(exact, "heun", steps=20, n=64, seed=0)
    assert ((drawn[:, None] - means).norm(dim=2).min(1).values < 0.6).all() and (drawn[:, 0] > 0).float().mean() > 0.2
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
