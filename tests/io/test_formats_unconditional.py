"""Pipelines without prompts: from the same noise, on the same times, they make the same pictures."""

import json
import shutil

import diffusers
import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Karras
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.load import load
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import time_grid
from fastdiff.samplers.conditions import conditions
from fastdiff.samplers.generate import sample
from fastdiff.training.placement import halve
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.opened_pipelines import MAKERS, PROMPTS, noise, ours, same, table_times
from tests.helpers.rows import model_rows


@pytest.mark.parametrize("name", MAKERS)
def test_a_network_kept_in_bfloat16_answers_nearly_the_same(opened, name):
    _, model, folder = opened(name)
    half = load(folder)
    halve(half)
    x, labels = noise(2, *model.shape), torch.tensor([0, 1]) if model.classes else None
    cond = conditions(model, 2, labels, PROMPTS if model.text else None, guidance=1.0)
    whole, other = (
        net.raw(x, torch.tensor(0.999 * model.schedule.t_max, dtype=torch.float64), None, cond)
        for net in (model, half)
    )
    assert other.dtype == torch.float32 and (whole - other).norm() < 0.03 * whole.norm() > 0


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_class_labels_in_latents(opened, guidance):
    pipeline, model, _ = opened("dit")
    wanted = pipeline([3, 7], guidance, torch.Generator().manual_seed(1), 4, "np").images
    assert model.net.null_label == 1000 and model.net.learned_variance
    times = time_grid(model.schedule, 4, model.sampling.spacing)
    same(
        ours(model, "ddim", noise(2, 4, 8, 8), times, labels=torch.tensor([3, 7]), guidance=guidance), wanted
    )


@pytest.mark.parametrize("name", ["ldm", "pixels"])
def test_unconditional(opened, name):
    pipeline, model, _ = opened(name)
    generator = torch.Generator().manual_seed(1)
    wanted = pipeline(batch_size=2, generator=generator, num_inference_steps=4, output_type="np").images
    same(ours(model, "ddim", noise(2, 3, 8, 8), table_times(pipeline)), wanted)
    assert torch.equal(time_grid(model.schedule, 4, model.sampling.spacing), table_times(pipeline))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_models(opened, steps):
    pipeline, model, _ = opened("cm")
    x, generator = noise(2, 3, 8, 8), torch.Generator().manual_seed(5)
    wanted = pipeline(
        2,
        class_labels=[4, 0],
        num_inference_steps=steps,
        latents=x.clone(),
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    assert model.schedule == Karras() and (model.predicts, model.sigma_data) == ("cm", 0.5)
    times = time_grid(model.schedule, steps, model.sampling.spacing_for(steps))
    same(
        ours(
            model,
            "consistency",
            80 * x,
            times,
            labels=torch.tensor([4, 0]),
            randn=lambda x: torch.randn(x.shape, generator=generator),
        ),
        wanted,
    )


def test_a_model_without_a_null_class_is_trained_on_and_judged(tmp_path):
    net = tiny.unet(1, resnet_time_scale_shift="scale_shift", num_class_embeds=10)
    diffusers.ConsistencyModelPipeline(net, diffusers.CMStochasticIterativeScheduler()).save_pretrained(
        tmp_path / "theirs"
    )
    stages.run(
        recipe.build(
            {
                "name": "few",
                "data": "digits",
                "model": {"net": "unet"},
                "train": {"batch": 8},
                "stages": {
                    "student": {"method": "ect", "init": str(tmp_path / "theirs"), "train": {"steps": 1}}
                },
                "bench": {
                    "steps": [1],
                    "baselines": [],
                    "n": 64,
                    "batch": 64,
                    "extractor": "checkpoints/digits/features",
                },
            }
        ),
        tmp_path / "run",
    )
    [row] = model_rows(tmp_path / "run")
    assert row["fd_digits"] > 0 and load(tmp_path / "run/student").classes == 10


def test_labels_without_a_null_class(opened):
    _, model, _ = opened("cm")
    assert sample(model, n=1, labels=4).isfinite().all()
    for said, options in (
        ("needs labels", {}),
        ("labels: expected 0 to 4", {"labels": 5}),
        ("guidance needs a null class", {"labels": 1, "guidance": 2.0}),
    ):
        with pytest.raises(FastdiffError, match=said):
            sample(model, n=1, **options)


def test_the_oldest_repositories_have_their_unet_at_the_root(opened, tmp_path):
    _, model, folder = opened("pixels")
    for path in [
        folder / "model_index.json",
        *(folder / "unet").iterdir(),
        *(folder / "scheduler").iterdir(),
    ]:
        shutil.copy(path, tmp_path)
    x, t = noise(2, 3, 8, 8), torch.tensor(500.0)
    assert torch.equal(load(tmp_path)(x, t).x0, model(x, t).x0)
    before = fingerprint(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert len(before) == 64 and fingerprint(tmp_path) != before


@pytest.mark.parametrize(("kind", "steps"), [("DDPM", 1000), ("DDIM", 50), ("PNDM", 50)])
def test_default_steps_and_sampler_are_the_pipelines(tmp_path, kind, steps):
    scheduler = getattr(diffusers, f"{kind}Scheduler")()
    getattr(diffusers, f"{kind}Pipeline")(tiny.unet(1), scheduler).save_pretrained(tmp_path)
    model = load(tmp_path)
    own = model.sampling
    assert own.steps == (steps,) and own.sampler == ("ddpm" if kind == "DDPM" else "ddim")


@pytest.mark.parametrize(("stated", "classes"), [(None, 10), (False, 10), (True, 9)])
def test_all_rows_are_classes_unless_config_says_so(tmp_path, stated, classes):
    diffusers.DDPMPipeline(tiny.unet(1, num_class_embeds=10), diffusers.DDPMScheduler()).save_pretrained(
        tmp_path
    )
    path = tmp_path / "unet/config.json"
    if stated is not None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"null_class": stated}))
    model = load(tmp_path)
    assert model.classes == classes and (model.null_label == 9) == bool(stated)
    assert sample(model, n=1, steps=1, labels=classes - 1).isfinite().all()
    if not stated:
        with pytest.raises(FastdiffError, match="no null class"):
            sample(model, n=1, steps=1, labels=3, guidance=2.0)
        x, t = noise(1, 1, 8, 8), torch.tensor(500.0, dtype=torch.float64)
        last = model.raw(x, t, cond={"label": torch.tensor([9])})
        assert (model.raw(x, t) - last).abs().max() > 1e-4


def test_a_pipeline_of_ddpm_makes_the_same_pictures_with_its_defaults(tmp_path):
    """clip_sample is on by default, and the noise is drawn in the same order."""
    torch.manual_seed(3)
    pipeline = tiny.alive(diffusers.DDPMPipeline(tiny.unet(), diffusers.DDPMScheduler()))
    pipeline.save_pretrained(tmp_path)
    wanted = pipeline(2, torch.Generator().manual_seed(1), 20, "np").images
    model, generator = load(tmp_path), torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 8, 8, generator=generator)
    times = time_grid(model.schedule, 20, model.sampling.spacing)
    found = ours(model, "ddpm", x, times, randn=lambda x: torch.randn(x.shape, generator=generator))
    same(found, wanted)
