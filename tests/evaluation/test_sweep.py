"""The sweep measures what it says, once."""

import json

import pytest
import torch
from safetensors.torch import load_file

from fastdiff.core.cost import flops
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.data.registry import Dataset, open_dataset
from fastdiff.evaluation import contestant
from fastdiff.evaluation import sweep as sweeping
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.lock import alone
from fastdiff.evaluation.summary import models_only
from fastdiff.evaluation.sweep import Sweep, sweep
from tests.helpers.rows import model_rows
from tests.helpers.swept import COLUMNS, CONFIG, model, stored

# ---- the sweep


def test_rows_have_every_column_and_are_measured_once(models, toy, tmp_path):
    rows = list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))
    assert len(rows) == 2 * (2 + 2 + 1) and all(set(row) == COLUMNS for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
    first = rows[0]
    assert str(first).startswith("teacher · ddim · 1 step · energy ") and str(first).endswith(" · 12 samples")
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
    assert model_rows(tmp_path / "out") == rows
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


def counted(monkeypatch, module, name):
    """The first arguments of every call of a function, which is called as ever."""
    calls, plain = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(args[0]) or plain(*args))
    return calls


def test_a_model_is_loaded_and_fingerprinted_once_and_the_real_data_are_drawn_once(
    models, toy, tmp_path, monkeypatch
):
    loads, hashes = (counted(monkeypatch, contestant, name) for name in ("load", "fingerprint"))
    sheets = counted(monkeypatch, sweeping, "keep_real")
    made = Sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher")
    assert [str(cell) for cell in made.cells][:2] == ["teacher-ddim-uniform-1", "teacher-ddim-uniform-2"]
    assert not (tmp_path / "out").exists()  # cells are known before anything is measured
    assert len(list(made.rows())) == 2 * len(made.cells) == 10
    assert sorted(loads) == sorted(hashes) == sorted(models.values()) and len(sheets) == 1


def test_a_sweep_under_its_callers_lock_takes_none_and_leaves_it_held(models, toy, tmp_path):
    config = BenchConfig(steps=(1,), baselines=(), n=12)
    made = Sweep(models, toy, config, tmp_path, teacher="teacher")
    with alone(tmp_path, made.accelerator) as held:
        with pytest.raises(FastdiffError, match="is being written by"):
            next(made.rows())
        assert len(list(made.rows(held))) == 2
        with pytest.raises(FastdiffError, match="is being written by"):
            next(made.rows())
    assert len(list(made.rows(held))) == 2  # released: it is taken anew


def test_an_interrupted_sweep_goes_on(models, toy, tmp_path):
    going = sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher")
    head = [next(going) for _ in range(3)]
    going.close()
    assert list(sweep(models, toy, CONFIG, tmp_path / "out", teacher="teacher"))[:3] == head
    assert len(model_rows(tmp_path / "out")) == 10


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
    lines = models_only(map(json.loads, (tmp_path / "out/bench.jsonl").read_text().splitlines()))
    assert len({line["key"] for line in lines}) == 3 + 2 * 4
    assert [line["key"] for line in lines[-2:]] == [row["key"] for row in new]


def test_a_baseline_may_have_another_number_of_samples(models, toy, tmp_path):
    """Its row is that of a benchmark of so many samples, which is not measured again."""

    def swept(**settings):
        config = BenchConfig(steps=(2,), **settings)
        return list(sweep(models, toy, config, tmp_path / "out", teacher="teacher"))

    few = swept(n=9, baselines=("ddpm:3",))
    many = swept(n=12, baselines=("ddpm:3@9", "ddim:2@12"))
    assert [row["n"] for row in few] == [9, 9, 9] and [row["n"] for row in many] == [12, 12, 9]
    same = [row for rows in (few, many) for row in rows if row["sampler"] == "ddpm"]
    assert same[0]["key"] == same[1]["key"] and same[0]["energy"] == same[1]["energy"]
    assert (tmp_path / "out/samples/teacher-ddim-uniform-2.png").exists()
    with pytest.raises(FastdiffError, match="bench.n = 2: expected at least"):
        swept(n=12, baselines=("ddpm:3@2",))


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
    with pytest.raises(FastdiffError, match="labels: expected 0 to 2, got 0 to 4"):
        swept(Dataset("dots", vectors, torch.arange(20) % 5, 5))


def test_what_cannot_be_measured(models, toy, tmp_path):
    def swept(dataset=toy, out=tmp_path / "out", teacher="teacher", **changes):
        return list(sweep(models, dataset, BenchConfig(steps=(2,), n=8, **changes), out, teacher=teacher))

    with pytest.raises(
        FastdiffError, match=r"teacher makes samples of shape \(2,\), the data digits have \(1, 8, 8\)"
    ):
        swept(open_dataset("digits"))
    with pytest.raises(FastdiffError, match="teacher = 'nobody': expected one of the models teacher, halved"):
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


# ---- its axes, its time, its neighbours


def test_a_second_sweep_into_the_same_directory_is_refused(models, toy, tmp_path):
    going = sweep(models, toy, CONFIG, tmp_path, teacher="teacher")
    next(going)
    with pytest.raises(FastdiffError, match="is being written by .*another --out"):
        next(sweep(models, toy, CONFIG, tmp_path, teacher="teacher"))
    going.close()
    assert len(list(sweep(models, toy, CONFIG, tmp_path, teacher="teacher"))) == 10
