"""Stored pairs: exact, kept, and noticed when stale; and what is learned from them (kd, reflow)."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM, Cosine, Karras
from fastdiff.data.registry import Dataset, batch_at
from fastdiff.data.toys import toy
from fastdiff.networks import mlp
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import generate, sample
from fastdiff.samplers.plan import SamplingPlan, plan
from fastdiff.training import pairs
from fastdiff.training.pairs import NOISE_STREAM, PAIRS_FILE
from tests.helpers.oracles import named
from tests.helpers.pairs import stored
from tests.helpers.rows import model_rows


def model_of(classes=0, schedule=None):
    torch.manual_seed(0)
    net = mlp((2,), classes, width=16)
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    return Denoiser(net, schedule or Cosine(), "v", (2,)).eval()


# ---- the file


@pytest.mark.parametrize("schedule", [Cosine(), DDPM(), Karras(t_max=10.0)], **named)
def test_a_pair_is_the_noise_and_what_sampling_makes_of_it(tmp_path, schedule):
    model = model_of(schedule=schedule)
    kept = stored(tmp_path, model, n=700, steps=4, seed=3)  # more than a batch of generate's
    wanted = sample(model, "heun", 4, n=700, seed=3 ^ NOISE_STREAM)
    assert torch.equal(kept.examples, wanted) and kept.examples.dtype == kept.noise.dtype == torch.float32
    seen = []
    times = plan(model, "heun", 4, None).times
    ask = lambda denoise, x, times: (seen.append(x.clone()), *SAMPLERS["heun"](denoise, x, times))[1:]  # noqa: E731
    list(generate(model, SamplingPlan(ask, times), torch.arange(700), seed=3 ^ NOISE_STREAM, batch=700))
    torch.testing.assert_close(kept.noise * float(schedule.alpha_sigma(times[0])[1]), seen[0], rtol=0, atol=0)
    assert pairs.read_pair_notes(tmp_path) == {"origin": {"who": "test"}, "nfe": 7 * 700} and os.listdir(
        tmp_path
    ) == [PAIRS_FILE]


def test_a_pair_is_a_function_of_its_number_and_seed(tmp_path):
    model = model_of()
    few, many, other = (
        stored(tmp_path / str(i), model, n=n, steps=3, seed=seed)
        for i, (n, seed) in enumerate([(20, 0), (50, 0), (50, 1)])
    )
    assert torch.equal(few.noise, many.noise[:20]) and not torch.equal(many.noise, other.noise)
    torch.testing.assert_close(few.examples, many.examples[:20], rtol=1e-5, atol=1e-6)
    assert few.fingerprint != many.fingerprint != other.fingerprint
    assert replace(few, noise=-few.noise).fingerprint != few.fingerprint
    judged = SampleRng(0, torch.arange(20)).normal((2,))  # a benchmark's noise of the same seed
    assert not torch.equal(few.noise, judged)


def test_labels_go_round(tmp_path):
    model = model_of(classes=3)
    like = Dataset("a", torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]), 3)
    kept = stored(tmp_path, model, n=10, steps=2, like=like)
    assert kept.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] and kept.classes == 3
    assert torch.equal(kept.examples, sample(model, "heun", 2, n=10, seed=NOISE_STREAM, labels=kept.labels))


def test_batches_carry_the_noise_of_their_examples():
    plain = Dataset("a", torch.randn(30, 1, 2, 2), noise=torch.randn(30, 1, 2, 2))
    batch = batch_at(plain, 12, 20, 5)
    rows = [int((plain.examples == x0).flatten(1).all(1).nonzero()) for x0 in batch.x0]
    assert torch.equal(batch.eps, plain.noise[rows])
    for rank in (0, 1):
        assert torch.equal(batch_at(plain, 12, 20, 5, rank=rank, world=2).eps, batch.eps[rank::2])
    both = replace(plain, noise=plain.examples.clone())
    flipped = batch_at(both, 0, 30, 5, flip=True)  # the two are mirrored together
    assert torch.equal(flipped.x0, flipped.eps) and not torch.equal(flipped.x0, batch_at(both, 0, 30, 5).x0)
    assert batch_at(toy(n=8), 0, 4, 0).eps is None


@pytest.mark.parametrize("sampler", ["ddpm", "consistency", "ddim[eta=0.5]", "edm[churn=10]"])
def test_a_sampler_that_draws_noise_is_refused(tmp_path, sampler):
    with pytest.raises(FastdiffError, match="draws noise on the way") as caught:
        stored(tmp_path, model_of(), n=4, sampler=sampler, steps=2)
    assert "\n" not in str(caught.value) and not os.listdir(tmp_path)


@pytest.mark.parametrize("sampler", ["ddim", "ddim[eta=0]", "edm", "dpmpp_2m", "gamma"])
def test_other_samplers_make_pairs(tmp_path, sampler):
    assert len(stored(tmp_path, model_of(), n=4, sampler=sampler, steps=2)) == 4


def test_a_damaged_file_is_called_so(tmp_path):
    stored(tmp_path, model_of(), n=16, steps=2)
    whole = (tmp_path / PAIRS_FILE).read_bytes()
    for broken in (whole[:-9], b"", b"\0" * 64):
        (tmp_path / PAIRS_FILE).write_bytes(broken)
        with pytest.raises(FastdiffError, match="pairs.safetensors is damaged"):
            pairs.read_pair_notes(tmp_path)
    with pytest.raises(FastdiffError, match="holds no pairs.safetensors"):
        pairs.load_pairs(tmp_path / "nowhere", toy(n=8))


# ---- the stage


RECIPE = """
name: pair
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 6, batch: 32, save_every: 3, log_every: 3, ema: 0.9}
stages:
  teacher: {method: denoising}
  pairs: {pairs: {n: 101, steps: 3}, teacher: teacher}
  reflow: {method: reflow, data: pairs, init: teacher}
  kd: {method: kd, data: pairs, init: reflow}
  ect: {method: ect, data: pairs, init: teacher}
bench: {steps: [1, 2], baselines: [], n: 65, seeds: [0]}
"""


def loaded(folder, *overrides):
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    return recipe.load(folder / "recipe.yaml", overrides)


def stamps(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}


@pytest.mark.long
def test_a_run_makes_its_pairs_once_and_again_for_another_teacher(tmp_path):
    out = stages.run(loaded(tmp_path / "a"), tmp_path / "out")
    before = stamps(out)
    kept = load_file(out / "pairs" / PAIRS_FILE)
    assert {k: len(v) for k, v in kept.items()} == {"x0": 101, "eps": 101}
    cost = {
        name: json.loads((out / name / "fastdiff.json").read_text())["cost"]["teacher_nfe"]
        for name in ("teacher", "reflow", "kd", "ect")
    }
    assert cost == {"teacher": 0} | dict.fromkeys(("reflow", "kd", "ect"), 101 * 5)
    models = {row["model"] for row in model_rows(out)}
    assert models == {"teacher", "reflow", "kd", "ect"}
    assert stages.run(loaded(tmp_path / "a"), out) == out and stamps(out) == before

    other = stages.run(loaded(tmp_path / "a"), tmp_path / "other", only="teacher")
    weights = next((other / "teacher").glob("*/*.safetensors"))
    assert torch.equal(
        *(load_file(p)["first.weight"] for p in (weights, next((out / "teacher").glob("*/*.safetensors"))))
    )
    (out / "pairs" / PAIRS_FILE).unlink()  # what a kill leaves behind: made again, byte for byte
    stages.run(loaded(tmp_path / "a"), out, only="pairs")
    assert all(torch.equal(v, kept[k]) for k, v in load_file(out / "pairs" / PAIRS_FILE).items())

    notes = json.loads(
        (out / "teacher" / "fastdiff.json").read_text()
    )  # another teacher: all that follows is stale
    (out / "teacher" / "fastdiff.json").write_text(json.dumps(notes | {"weights": "0" * 64}))
    with pytest.raises(FastdiffError, match="damaged weights"):
        stages.run(loaded(tmp_path / "a"), out, only="pairs")
    assert list(out.glob("pairs.before-*"))


def test_pairs_of_another_run_are_named_by_their_path(tmp_path):
    out = stages.run(loaded(tmp_path / "a"), tmp_path / "out", only="teacher")
    stages.run(loaded(tmp_path / "a"), out, only="pairs")
    elsewhere = loaded(tmp_path / "b", f"stages.kd={{method: kd, data: {out}/pairs, init: {out}/teacher}}")
    assert (stages.run(elsewhere, tmp_path / "there", only="kd") / "kd" / "fastdiff.json").exists()
    with pytest.raises(
        FastdiffError, match="pairs holds no pairs.safetensors: name a stage with pairs, and run it first"
    ):
        stages.run(loaded(tmp_path / "c", f"stages.kd.init={out}/teacher"), tmp_path / "empty", only="kd")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages.kd.data=null"], "stages.kd.data is missing: method kd needs stored pairs"),
        (
            ["stages.kd.data=teacher"],
            "stages.kd.data: 'teacher' is neither an earlier stage of pairs nor a path, choose from pairs",
        ),
        (
            ["stages.kd.data=pears"],
            "stages.kd.data: 'pears' is neither an earlier stage of pairs nor a path, did you mean pairs?",
        ),
        (["stages.kd.init=pairs"], "stages.kd.init: 'pairs' is neither an earlier stage"),
        (["stages.pairs.teacher=null"], "stages.pairs.teacher is missing"),
        (["stages.pairs.teacher=kd"], "stages.pairs.teacher: 'kd' is neither an earlier stage"),
        (["stages.pairs.method=kd"], "stages.pairs.method: a stage of pairs takes only pairs and teacher"),
        (["stages.pairs.train.steps=3"], "stages.pairs.train: a stage of pairs takes only pairs and teacher"),
        (["stages.pairs.pairs.m=3"], "stages.pairs.pairs.m is unknown"),
        (["stages.pairs.pairs.n=0"], "pairs.n: expected at least 1"),
        (["stages.pairs.pairs.n=many"], "stages.pairs.pairs.n: "),
        (["bench.teacher=pairs"], "bench.teacher: 'pairs' is not a stage"),
        (
            ["stages.samples={pairs: {}, teacher: teacher}"],
            "stages.samples: 'samples' cannot be a folder's name",
        ),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path, overrides, message):
    with pytest.raises(FastdiffError) as caught:
        loaded(tmp_path, *overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.long
def test_two_processes_make_the_pairs_of_one(tmp_path):
    """101 pairs do not share evenly."""
    one = stages.run(loaded(tmp_path / "a"), tmp_path / "one", only="teacher")
    stages.run(loaded(tmp_path / "a"), one, only="pairs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    overrides = [f"stages.pairs.teacher={one}/teacher"]
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node=2",
            f"--master_port={port}",
            "-m",
            "fastdiff",
            "run",
            tmp_path / "a" / "recipe.yaml",
            *overrides,
            "--only",
            "pairs",
            "--out",
            tmp_path / "two",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert made.returncode == 0, made.stdout + made.stderr
    alone, shared = (load_file(out / "pairs" / PAIRS_FILE) for out in (one, tmp_path / "two"))
    assert torch.equal(alone["eps"], shared["eps"])
    torch.testing.assert_close(shared["x0"], alone["x0"], rtol=1e-5, atol=1e-5)
    assert (
        pairs.read_pair_notes(tmp_path / "two" / "pairs")["nfe"]
        == pairs.read_pair_notes(one / "pairs")["nfe"]
    )
