"""What fastdiff writes, diffusers opens and samples alike, and every bit of it comes back."""

import json

import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, SCHEDULES, Flow, Karras, Sigmoid
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.networks import mlp
from fastdiff.samplers.generate import sample
from tests.helpers.stock_pipelines import INDEX, SHAPE, WEIGHTS, draws, images, ours, theirs, tiny


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# ---- ours in diffusers


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_an_export_is_a_ddim_pipeline(folder, steps):
    pipeline = quiet(DDIMPipeline.from_pretrained(folder))
    x = ours(load(folder), "ddim", steps)
    torch.testing.assert_close(theirs(pipeline.unet, pipeline.scheduler, steps), x, rtol=1e-4, atol=1e-4)
    stock = pipeline(
        2, num_inference_steps=steps, generator=torch.Generator().manual_seed(1), output_type="np"
    ).images
    torch.testing.assert_close(
        torch.from_numpy(stock).permute(0, 3, 1, 2), (x / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4
    )


def test_an_export_is_a_ddpm_pipeline(folder):
    pipeline = quiet(DDPMPipeline.from_pretrained(folder))
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    wanted = theirs(pipeline.unet, pipeline.scheduler, 50, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours(load(folder), "ddpm", 50, randn=draws()), wanted, rtol=1e-4, atol=1e-4)
    stock = pipeline(
        2, num_inference_steps=50, generator=torch.Generator().manual_seed(1), output_type="np"
    ).images
    generator = torch.Generator().manual_seed(1)
    torch.randn(2, *SHAPE, generator=generator)  # the pipeline's first draw
    x = ours(load(folder), "ddpm", 50, randn=lambda x: torch.randn(x.shape, generator=generator))
    torch.testing.assert_close(
        torch.from_numpy(stock).permute(0, 3, 1, 2), (x / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("schedule", "predicts"), [(DDPM(), "eps"), (DDPM(t_max=100), "x0"), (Sigmoid(), "v")], ids=repr
)
def test_other_preserving_schedules_export_too(tmp_path, schedule, predicts):
    export(tiny(schedule, predicts), tmp_path, {})
    pipeline = DDIMPipeline.from_pretrained(tmp_path)
    torch.testing.assert_close(
        theirs(pipeline.unet, pipeline.scheduler, 10),
        ours(load(tmp_path), "ddim", 10, "trailing"),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "model",
    [tiny(Flow(), "velocity"), tiny(Karras(), "edm", time_input="edm"), tiny(Flow(), "v")],
    ids=lambda model: type(model.schedule).__name__ + model.predicts,
)
def test_what_no_stock_pipeline_runs_is_not_called_one(tmp_path, model):
    export(model, tmp_path, {})
    assert not (tmp_path / INDEX).exists() and (tmp_path / WEIGHTS).exists()
    assert load(tmp_path).schedule == model.schedule


# ---- round trips


@pytest.mark.parametrize(
    "model",
    [
        tiny(),
        tiny(classes=3, shape=(1, 8, 4)),
        tiny(DDPM(t_max=3, betas=(0.1, 0.2, 0.5)), "eps"),
        tiny(
            Karras(t_max=50.0),
            "edm",
            time_input="edm",
            sigma_data=0.5,
            scale_input=True,
            two_times=True,
            sampling=Sampling("consistency", "karras", (1, 2), only=True),
        ),
    ],
    ids=lambda model: type(model.schedule).__name__,
)
def test_a_round_trip_keeps_every_bit(tmp_path, model):
    export(model, tmp_path, {"method": "test", "note": [1, 2]})
    back = load(tmp_path)
    model.requires_grad_(False)  # torch picks its matrix products by it, even where no gradient is kept
    for name in (
        "schedule",
        "predicts",
        "shape",
        "time_input",
        "sigma_data",
        "scale_input",
        "two_times",
        "sampling",
    ):
        assert getattr(back, name) == getattr(model, name), name
    x, t = images(shape=model.shape), torch.tensor([0.3, 0.9]) * model.schedule.t_max
    cond = None if model.net.null_label is None else {"label": torch.tensor([0, 2])}
    with torch.no_grad():
        for one, other in zip(model(x, t, t / 2, cond), back(x, t, t / 2, cond), strict=True):
            assert torch.equal(one, other)
    assert not any(p.requires_grad for p in back.parameters()) and not back.net.training
    about = json.loads((tmp_path / "fastdiff.json").read_text())
    assert about["note"] == [1, 2] and about["params"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_and_the_mlp_make_the_round_trip(tmp_path, name):
    model = Denoiser(mlp((2,), 3, width=8, depth=1), SCHEDULES[name](), "v", (2,), time_input="time")
    export(model, tmp_path, {})
    back = load(tmp_path)
    assert back.schedule == model.schedule and back.net.null_label == 3
    assert torch.equal(sample(back, n=4, steps=2, labels=1), sample(model, n=4, steps=2, labels=1))


def test_exporting_leaves_the_model_alone_and_replaces_what_was_there(copy):
    model = tiny()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    before = [p.clone() for p in model.parameters()]
    export(model, copy, {"method": "second"}, torch.float16)
    assert all(
        p.dtype == torch.float32 and torch.equal(p, q)
        for p, q in zip(model.parameters(), before, strict=True)
    )
    assert json.loads((copy / "fastdiff.json").read_text())["method"] == "second"
    assert sorted(p.name for p in copy.iterdir()) == [
        "README.md",
        "fastdiff.json",
        INDEX,
        "scheduler",
        "unet",
    ]
    torch.testing.assert_close(ours(load(copy), "ddim", 2), ours(model, "ddim", 2), rtol=2e-2, atol=2e-2)


def test_half_precision_halves_the_file(folder, tmp_path):
    export(tiny(), tmp_path, {}, torch.float16)
    assert (tmp_path / WEIGHTS).stat().st_size < 0.6 * (folder / WEIGHTS).stat().st_size
    back, model = load(tmp_path), load(folder)
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    torch.testing.assert_close(ours(back, "ddim", 4), ours(model, "ddim", 4), rtol=1e-2, atol=1e-2)
    assert DDIMPipeline.from_pretrained(tmp_path, torch_dtype=torch.float16).unet.dtype == torch.float16
