"""Adapters of pipelines: what others than fastdiff load of them."""

from copy import deepcopy

import pytest
import torch
from accelerate import Accelerator
from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow as FlowLine
from fastdiff.data.latents import embedded
from fastdiff.data.registry import Dataset
from fastdiff.io.export.model import export
from fastdiff.io.load import load, read_metadata
from fastdiff.methods.lcm import LCM
from fastdiff.networks import lora
from fastdiff.networks.lora import Lora
from fastdiff.networks.text_unet import TextUNet
from fastdiff.networks.transformers import SD3, Flux
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from tests.helpers.adapters import run_of, weights
from tests.helpers.tiny_pipelines import alive, flux, sd3, sdxl, stable_diffusion

PROMPTS = ("a cat", "two dogs", "a red house", "")


# ---- a tiny Stable Diffusion


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The folder of a StableDiffusionPipeline of random weights on latents of 4 x 8 x 8."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    alive(stable_diffusion(folder)).save_pretrained(folder)
    return folder


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
    note = read_metadata(folder)["lora"]
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
        FastdiffError, match=r"told: train.lora: lcm adds an input to the network, .* one number, \[w, w\]"
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
