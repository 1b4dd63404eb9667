"""Models of learned variance in recipes and files, ours and those of diffusers."""

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, Cosine
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.networks import mlp
from fastdiff.runs.recipe import build
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.generate import sample
from tests.helpers.variance import SHAPE, START, batch_of, noise, tiny


def test_a_recipe_doubles_the_network():
    recipe = build(
        {
            "name": "doubled",
            "data": {"name": "toy", "n": 64},
            "model": {
                "net": {"name": "mlp", "width": 8, "depth": 1, "learned_variance": True},
                "schedule": "ddpm",
            },
            "stages": {
                "teacher": {"method": {"name": "denoising", "variance": "learned"}, "train": {"steps": 2}}
            },
        }
    )
    model = recipe.fresh_model(recipe.dataset())
    assert model(torch.randn(3, 2), torch.tensor(5.0)).extra.shape == (3, 2)
    method = recipe.stages[0].method
    nets = {"student": model} | method.trainable_networks(model, None)
    loss, logs = method.loss(("student",), nets, batch_of(torch.randn(8, 2)), START)
    loss.backward()
    assert model.net.last.weight.grad[2:].abs().sum() > 0 and logs["vlb"] > 0


@pytest.mark.parametrize("kind", ["unet", "mlp"])
def test_files_keep_the_variance(tmp_path, kind):
    model = tiny() if kind == "unet" else Denoiser(mlp((2,), learned_variance=True), Cosine(), "v", (2,))
    export(model, tmp_path, {})
    again, x, t = load(tmp_path), noise(2, *model.shape).float(), torch.tensor(0.4 * model.schedule.t_max)
    assert again.net.learned_variance
    torch.testing.assert_close(again(x, t).extra, model(x, t).extra)
    assert sample(again, "ddpm", 3, n=2, variance="learned").isfinite().all()


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_an_export_is_a_stock_ddpm_pipeline(tmp_path, predicts):
    """At all its timesteps: from more than the first, their last step would add noise to the finished
    sample."""
    schedule = DDPM(t_max=20.0)
    model = tiny(predicts, schedule)
    model.sampling = Sampling("ddim", "uniform", (20,))
    export(model, tmp_path, {})
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.variance_type == "learned_range"
    stock = pipeline(
        2, num_inference_steps=20, generator=torch.Generator().manual_seed(1), output_type="np"
    ).images
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *SHAPE, generator=generator)
    with torch.no_grad():
        *_, last = SAMPLERS["ddpm"](
            Guided(load(tmp_path)),
            x,
            time_grid(schedule, 20),
            variance="learned",
            randn=lambda x: torch.randn(x.shape, generator=generator),
        )
    ours = (last.x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(stock), ours, rtol=1e-4, atol=1e-4)


def test_a_foreign_pipeline_with_learned_variance_is_read(tmp_path):
    model = tiny()
    DDPMPipeline(
        unet=model.net.module, scheduler=DDPMScheduler(variance_type="learned_range")
    ).save_pretrained(tmp_path)
    again, x, t = load(tmp_path), noise(2, *SHAPE).float(), torch.tensor(400.0)
    assert again.net.learned_variance
    torch.testing.assert_close(again(x, t).extra, model(x, t).extra)
