"""Adapters: what is trained, shared, saved and resumed, and what others than fastdiff load of them."""

import os
import signal
import sys
import threading
from copy import deepcopy

import peft
import pytest
import torch
from accelerate import Accelerator
from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.ema import update
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.core.schedule import Flow as FlowLine
from fastdiff.data.latents import embedded
from fastdiff.data.registry import Dataset
from fastdiff.data.toys import toy
from fastdiff.io.export.model import export
from fastdiff.io.load import about, load
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.lcm import LCM
from fastdiff.networks import lora, mlp
from fastdiff.networks.lora import Lora
from fastdiff.networks.text_unet import TextUNet
from fastdiff.networks.transformers import SD3, Flux
from fastdiff.networks.unet import unet
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training
from tests.helpers.forks import command, fork
from tests.helpers.tiny_pipelines import alive, flux, sd3, sdxl, stable_diffusion
from tests.runs.test_resume import kill_at

PROMPTS = ("a cat", "two dogs", "a red house", "")


# ---- a tiny Stable Diffusion


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The folder of a StableDiffusionPipeline of random weights on latents of 4 x 8 x 8."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    alive(stable_diffusion(folder)).save_pretrained(folder)
    return folder


def run_of(folder, teacher, data, config, method, student=None):
    student = student or method.student(deepcopy(teacher))
    student.sampling = method.sampling()
    torch.manual_seed(config.seed)
    return Training(method, Progress, student, teacher, data, config, folder, Accelerator(cpu=True))


@pytest.fixture(scope="module")
def distilled(pipeline, tmp_path_factory):
    """An LCM-LoRA of that pipeline after two steps: its run, its export."""
    folder, teacher = tmp_path_factory.mktemp("lcm-lora"), load(pipeline)
    data = embedded(
        Dataset("latents", torch.randn(16, 4, 8, 8), captions=PROMPTS * 4),
        teacher.text,
        Accelerator(cpu=True),
        lambda done: None,
    )
    config = TrainConfig(steps=2, batch=8, lr=0.05, ema=0.0, optimizer="adamw", lora=Lora(rank=4, alpha=8.0))
    run = run_of(folder / "run", teacher, data, config, LCM(weights=(7.5, 7.5), mu=0.0))
    list(run)
    export(run.result(), folder / "model", {"method": "lcm"})
    return run, folder / "model"


def drawn(pipe, steps):
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return pipe(
        "a cat",
        num_inference_steps=steps,
        guidance_scale=1.0,
        latents=noise,
        output_type="pt",
        generator=torch.Generator().manual_seed(2),
    ).images


def test_diffusers_draws_with_the_adapter_what_it_draws_with_the_merged_model(distilled, pipeline):
    run, folder = distilled
    with_adapter = StableDiffusionPipeline.from_pretrained(pipeline)
    before = drawn(with_adapter, 4)
    with_adapter.load_lora_weights(folder / "lora")
    fused = StableDiffusionPipeline.from_pretrained(
        pipeline, unet=UNet2DConditionModel.from_pretrained(folder / "unet")
    )
    found = drawn(with_adapter, 4)
    torch.testing.assert_close(found, drawn(fused, 4), atol=1e-4, rtol=0)
    assert (found - before).abs().max() > 0.01  # of which two steps were enough to make another model
    assert [path.name for path in (folder / "lora").iterdir()] == ["pytorch_lora_weights.safetensors"]
    note = about(folder)["lora"]
    assert (note["rank"], note["alpha"], note["read_by"]) == (
        4,
        8.0,
        "diffusers StableDiffusionPipeline.load_lora_weights",
    )


def test_an_export_is_the_model_that_was_trained(distilled):
    run, folder = distilled
    student, x, t = run.result(), torch.randn(2, 4, 8, 8), torch.tensor(500.0).double()
    cond = student.text.encode(["a cat", "two dogs"])
    stored = load(folder)
    assert stored.predicts == "lcm_eps" and stored.guidance is None and not lora.adapted(stored.net.module)
    with torch.no_grad():
        torch.testing.assert_close(stored(x, t, t, cond).x0, student(x, t, t, cond).x0, atol=1e-5, rtol=1e-4)
    made = sample(stored, steps=2, n=2, prompts=["a cat", "two dogs"])
    assert made.shape == (2, 3, 16, 16) and made.isfinite().all()


def test_a_recipe_makes_an_adapter_of_a_pipeline_and_a_folder_of_pictures(pipeline, tmp_path):
    for name, level in (("cat", 40), ("dog", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (16, 16), (level, 20 * number, level)).save(
                tmp_path / f"pictures/{name}/{number}.png"
            )
    settings = {
        "steps": 2,
        "batch": 4,
        "lr": 0.01,
        "lora": {"rank": 2, "targets": ["attn2", "time_emb_proj"]},
    }
    source = {
        "name": "adapter",
        "data": {"name": str(tmp_path / "pictures"), "captions": "a {class}"},
        "model": {"net": "text_unet"},
        "train": settings,
        "stages": {
            "lcm": {"method": {"name": "lcm", "weights": [7.5, 7.5]}, "teacher": str(pipeline)},
            "told": {"method": "lcm", "teacher": str(pipeline)},
        },
    }
    stages.run(recipe.build(source), tmp_path / "run", only="lcm")
    made = load_file(tmp_path / "run/lcm/lora/pytorch_lora_weights.safetensors")
    assert {part for name in made for part in name.split(".")} >= {
        "unet",
        "attn2",
        "to_k",
        "time_emb_proj",
        "lora_A",
    }
    assert max(float(value.abs().max()) for name, value in made.items() if "lora_B" in name) > 0
    assert sample(load(tmp_path / "run/lcm"), steps=4, n=2, prompts="a cat").shape == (2, 3, 16, 16)
    with pytest.raises(
        FastdiffError, match=r"told: train.lora: lcm gives the network an input .* number, \[w, w\]"
    ):
        stages.run(recipe.build(source), tmp_path / "run", only="told")


@pytest.mark.parametrize(("make", "part"), [(sdxl, "unet"), (sd3, "transformer"), (flux, "transformer")])
def test_other_pipelines_load_adapters_too(make, part, tmp_path):
    """What they fuse with it is what is exported as merged."""
    pipe = make(tmp_path / "words")
    module = getattr(pipe, part)
    kind = {"UNet2DConditionModel": TextUNet, "SD3Transformer2DModel": SD3, "FluxTransformer2DModel": Flux}
    net = kind[type(module).__name__](deepcopy(module))
    lora.adapt(Denoiser(net, FlowLine(), "velocity"), Lora(rank=2, alpha=3.0))
    for p in net.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p)
    lora.save(net, tmp_path / "lora", torch.float32)
    first, wanted = weights(module), lora.merged(net.module).state_dict()
    pipe.load_lora_weights(tmp_path / "lora")
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    found = getattr(pipe, part).state_dict()
    assert set(found) == set(wanted)
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-5, rtol=1e-5)
    assert sum(not torch.equal(found[name], first[name]) for name in found) >= 4


# ---- what is trained


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_the_adapter_alone_is_trained_averaged_and_saved(distilled):
    run, _ = distilled
    names = [name for name, p in run.student.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    state = load_file(run.folder / "state/00000002/tensors.safetensors")
    assert {name for name in state if name.startswith("student.")} == {f"student.{name}" for name in names}
    assert {name for name in state if name.startswith("ema.")} == {f"ema.{name}" for name in names}
    assert (
        "net.module.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.lora_A.default.weight" in names
    )
    assert len(run.roles["student"].optimizer.state) == len(names)
    shared = dict(run.average.named_parameters())
    for name, p in run.student.named_parameters():
        assert (shared[name] is p) == (name not in names), name


def points():
    torch.manual_seed(0)
    net = mlp((2,), width=16, depth=2)
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return Denoiser(net, FlowLine(), "velocity", (2,)).eval().requires_grad_(False)


def settings(**more):
    return TrainConfig(
        **(
            {
                "steps": 6,
                "batch": 16,
                "log_every": 2,
                "save_every": 3,
                "lr": 0.01,
                "ema": 0.9,
                "lora": Lora(rank=2),
            }
            | more
        )
    )


@pytest.mark.parametrize("name", ["cd", "progressive", "ect", "scd", "lcm"])
def test_any_method_trains_an_adapter_of_a_teacher_that_stays_as_it_is(name, tmp_path):
    method = METHODS[name](**({"weights": (1.0, 1.0)} if name == "lcm" else {}))
    begun = points()
    teacher, first = lora.twin(begun), weights(begun)
    assert all(own is other for own, other in zip(begun.parameters(), teacher.parameters()))
    run = run_of(
        tmp_path, teacher if method.teaches else None, toy(n=64), settings(), method, method.student(begun)
    )
    list(run)
    for own, old in weights(teacher).items():
        assert torch.equal(old, first[own]), own
    changed = lora.merged(run.result().net).state_dict()
    moved = [name for name, value in changed.items() if not torch.equal(value, first[f"net.{name}"])]
    assert {name.split(".")[0] for name in moved} == {"blocks"}
    if run.targets:
        assert 0 < run.drifts()["drift"] < 1  # of the adapter alone


def test_an_average_keeps_its_hands_off_what_it_shares(tmp_path):
    model = points()
    lora.adapt(model, Lora(rank=2))
    average = lora.twin(model).requires_grad_(False)
    before = weights(model)
    for p in model.parameters():
        if p.requires_grad:
            p.data.add_(1)
    update(average, model, 0.75)
    for (name, own), old in zip(average.named_parameters(), before.values()):
        torch.testing.assert_close(own, old + 0.25 if "lora_" in name else old)


def test_an_adapter_that_is_not_trained_yet_changes_nothing(tmp_path):
    """Of convolutions too; and peft puts what was trained on the teacher's own network."""
    torch.manual_seed(0)
    net = unet((1, 8, 8), classes=3, channels=(8, 16), layers=1, groups=4)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8)).eval()
    export(model, tmp_path / "teacher", {})
    x, t, cond = torch.randn(4, 1, 8, 8), torch.tensor(0.6).double(), {"label": torch.arange(4)}
    with torch.no_grad():
        before = model(x, t, t, cond).x0
        lora.adapt(model, Lora(rank=3, alpha=6.0))
        assert torch.equal(model(x, t, t, cond).x0, before)
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p), alpha=0.1)
        after = model(x, t, t, cond).x0
    export(model, tmp_path / "student", {})
    assert {p.name for p in (tmp_path / "student/lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert about(tmp_path / "student")["lora"]["read_by"] == "peft PeftModel.from_pretrained"
    plain = UNet2DModel.from_pretrained(tmp_path / "teacher/unet")
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "student/lora")
    model.net.module = theirs.base_model.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x, t, t, cond).x0, after, atol=1e-5, rtol=0)
        torch.testing.assert_close(load(tmp_path / "student")(x, t, t, cond).x0, after, atol=1e-5, rtol=0)
        assert (after - before).abs().max() > 0.01


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ((), ("blocks.0.1", "blocks.0.3", "blocks.1.1", "blocks.1.3")),
        (("last",), ("last",)),
        (("blocks.1", "first"), ("blocks.1.1", "blocks.1.3", "first")),
        (("time", "3"), ("blocks.0.3", "blocks.1.3", "time.0", "time.2")),
    ],
)
def test_targets_are_parts_of_names(targets, layers):
    model = points()
    lora.adapt(model, Lora(rank=2, targets=targets))
    assert sorted(name for name, layer in model.net.named_modules() if hasattr(layer, "base_layer")) == list(
        layers
    )


# ---- refusals


def test_targets_that_are_no_layers_are_refused():
    with pytest.raises(
        FastdiffError, match="lora.targets: no layer of the network is called block, did you mean blocks"
    ):
        lora.adapt(points(), Lora(targets=("block",)))
    with pytest.raises(
        FastdiffError, match="no layer of the network is called to_q, choose from blocks, first, last, time"
    ):
        lora.adapt(points(), Lora(targets=("last", "to_q")))


SOURCE = {
    "name": "r",
    "data": {"name": "toy", "n": 64},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "stages": {"teacher": {"method": "denoising"}, "cd": {"method": "cd", "teacher": "teacher"}},
}


def built(stage="cd", **train):
    source = deepcopy(SOURCE)
    source["stages"][stage]["train"] = train
    return recipe.build(source)


def test_settings_of_an_adapter_are_checked():
    assert (
        built(lora={"rank": 8}).stages[1].train.lora == Lora(rank=8) and built().stages[1].train.lora is None
    )
    for wrong, message in (
        ({"rnk": 8}, "stages.cd.train.lora.rnk is unknown, did you mean rank"),
        ({"rank": 0}, "stages.cd.train.lora.rank: .* got 0"),
        ({"alpha": -1}, "lora.alpha"),
        ({"targets": "to_q"}, "lora.targets"),
    ):
        with pytest.raises(FastdiffError, match=message):
            built(lora=wrong)
    with pytest.raises(FastdiffError, match="stages.cd.train.lora: .*got 64"):
        built(lora=64)
    with pytest.raises(
        FastdiffError, match="stages.teacher.train.lora: an adapter needs a model to be put on"
    ):
        built("teacher", lora={})


def test_adapters_need_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(FastdiffError, match=r"train.lora needs peft: pip install 'fastdiff\[lora\]'"):
        built(lora={})
    with pytest.raises(FastdiffError, match="needs peft"):
        lora.adapt(points(), Lora())


def test_an_adapter_is_not_split_over_processes(tmp_path):
    with pytest.raises(FastdiffError, match="train.shard: an adapter, train.lora, is not split"):
        run_of(tmp_path, points(), toy(n=64), settings(shard=True), METHODS["cd"](), points())


# ---- runs

RECIPE = """
name: adapted
data: {name: toy, n: 200}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: cosine, predicts: v}
train: {steps: 20, batch: 32, save_every: 5, log_every: 5, ema: 0.9}
stages:
  teacher: {method: denoising}
  cd: {method: {name: cd, mu: 0.5}, teacher: teacher, train: {lora: {rank: 2}}}
  meanflow: {method: meanflow, teacher: teacher, train: {lora: {rank: 2}}}
"""


def killed(recipe, out):
    threading.Thread(target=kill_at, args=(out, "cd/state/00000010", ""), daemon=True).start()
    command(out.with_suffix(".txt"), "run", recipe, "--out", out, "--only", "cd")


def test_a_killed_run_of_an_adapter_ends_with_the_same_bits(tmp_path):
    path, (whole, broken) = tmp_path / "adapted.yaml", (tmp_path / "whole", tmp_path / "broken")
    path.write_text(RECIPE)

    def launch(target, *words):
        process = fork(target, *words)
        process.join(600)
        return process.exitcode

    for out in (whole, broken):
        assert launch(command, out.with_suffix(".txt"), "run", path, "--out", out, "--only", "teacher") == 0
    assert launch(command, whole.with_suffix(".txt"), "run", path, "--out", whole, "--only", "cd") == 0
    assert launch(killed, path, broken) == -signal.SIGKILL
    assert not (broken / "cd/fastdiff.json").exists()
    assert launch(command, broken.with_suffix(".txt"), "run", path, "--out", broken, "--only", "cd") == 0
    for name in (
        "mlp/diffusion_pytorch_model.safetensors",
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
        "state/00000020/tensors.safetensors",
        "log.jsonl",
    ):
        assert (whole / "cd" / name).read_bytes() == (broken / "cd" / name).read_bytes(), name
    small, large = (
        os.path.getsize(whole / stage / "state/00000020/tensors.safetensors") for stage in ("cd", "teacher")
    )
    assert small < large / 2
    launch(command, whole.with_suffix(".txt"), "run", path, "--out", whole, "--only", "meanflow")
    assert (
        "train.lora: meanflow gives the network an input of its own" in whole.with_suffix(".txt").read_text()
    )
