"""Models on disk: what fastdiff writes, diffusers opens and samples alike, and the other way round."""

import json
import shutil

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine, Flow, Karras, Sigmoid
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.networks import mlp, unet
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.generate import sample

SHAPE = (3, 8, 8)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
INDEX = "model_index.json"


def tiny(schedule=None, predicts="v", shape=SHAPE, classes=0, **options):
    torch.manual_seed(0)
    net = unet(shape, classes, channels=(8, 8), layers=1, groups=4)
    return Denoiser(net, schedule or Cosine(), predicts, shape, **options).eval()


def images(n=2, shape=SHAPE):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def draws():
    generator = torch.Generator().manual_seed(5)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


@torch.no_grad()
def ours(model, sampler, steps, spacing="uniform", **options):
    *_, last = SAMPLERS[sampler](
        Guided(model), images(), time_grid(model.schedule, steps, spacing), **options
    )
    return last.x


@torch.no_grad()
def theirs(unet, scheduler, steps, **options):
    """The pipeline's own loop, from our noise and without its clamp."""
    scheduler.set_timesteps(steps)
    x = images()
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t).sample, t, x, **options).prev_sample
    return x


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export(tiny(), folder, {"method": "denoising"})
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


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


# ---- theirs in fastdiff


@pytest.mark.parametrize(
    ("entries", "options"),
    [
        (1000, {}),
        (100, {}),
        (1000, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}),
        (
            1000,
            {
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "prediction_type": "sample",
            },
        ),
    ],
)
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_diffusers_pipeline_is_a_denoiser(tmp_path, entries, options, steps):
    scheduler = DDPMScheduler(num_train_timesteps=entries, clip_sample=False, **options)
    DDPMPipeline(tiny().net.module, scheduler).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert isinstance(model.schedule, DDPM) and model.shape == SHAPE and not model.training
    ddim = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    wanted = theirs(UNet2DModel.from_pretrained(tmp_path, subfolder="unet"), ddim, steps)
    torch.testing.assert_close(ours(model, "ddim", steps, "trailing"), wanted, rtol=1e-3, atol=1e-4)
    ddpm = DDPMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    wanted = theirs(model.net.module, ddpm, steps, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(
        ours(model, "ddpm", steps, "trailing", randn=draws()), wanted, rtol=1e-3, atol=1e-4
    )


def test_only_pipelines_and_networks_that_are_known_are_opened(copy):
    (copy / "fastdiff.json").unlink()
    index = json.loads((copy / INDEX).read_text())
    for key, value, known in (
        ("unet", ["diffusers", "UNet2DConditionModel"], "only a UNet2DModel"),
        ("_class_name", "AudioLDM2Pipeline", "only DDPMPipeline, DDIMPipeline, "),
    ):
        (copy / INDEX).write_text(json.dumps({**index, key: value}))
        with pytest.raises(FastdiffError, match=f"is not supported, {known}"):
            load(copy)


def test_nothing_is_unpickled(copy):
    for name in ("fastdiff.json", WEIGHTS):
        (copy / name).unlink()
    torch.save(tiny().net.module.state_dict(), copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(FastdiffError, match="diffusion_pytorch_model.bin is pickled, which could run code"):
        load(copy)


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


# ---- damage


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


ABOUT = "fastdiff.json"
DAMAGE = {
    "weights cut": (lambda at: cut(at / WEIGHTS), "damaged weights"),
    "one bit of the weights": (lambda at: flip(at / WEIGHTS), "damaged weights"),
    "weights gone": (lambda at: (at / WEIGHTS).unlink(), "missing its weights"),
    "network gone": (lambda at: shutil.rmtree(at / "unet"), "missing its weights"),
    "config cut": (lambda at: cut(at / "unet/config.json"), "damaged"),
    "config gone": (lambda at: (at / "unet/config.json").unlink(), "damaged"),
    "about cut": (lambda at: cut(at / ABOUT), "damaged"),
    "about empty": (lambda at: (at / ABOUT).write_text("{}"), "damaged"),
    "about of another kind": (lambda at: (at / ABOUT).write_text("[1]"), "damaged"),
    "about in no text": (lambda at: (at / ABOUT).write_bytes(b"\xff\xfe\x00"), "damaged"),
    "plain, weights cut": (lambda at: ((at / ABOUT).unlink(), cut(at / WEIGHTS)), "cannot be loaded"),
    "plain, weights gone": (lambda at: ((at / ABOUT).unlink(), (at / WEIGHTS).unlink()), "cannot be loaded"),
    "plain, config cut": (
        lambda at: ((at / ABOUT).unlink(), cut(at / "unet/config.json")),
        "cannot be loaded",
    ),
    "plain, scheduler gone": (
        lambda at: ((at / ABOUT).unlink(), shutil.rmtree(at / "scheduler")),
        "cannot be loaded",
    ),
    "plain, index cut": (lambda at: ((at / ABOUT).unlink(), cut(at / INDEX)), "cannot be loaded"),
    "no model": (
        lambda at: ((at / ABOUT).unlink(), (at / INDEX).unlink()),
        "is no model: expected fastdiff.json or",
    ),
    "no folder": (lambda at: shutil.rmtree(at), "no such folder"),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_is_named_in_one_line(copy, damage):
    inflict, message = DAMAGE[damage]
    inflict(copy)
    with pytest.raises(FastdiffError, match=message) as caught:
        load(copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


@pytest.mark.parametrize("path", ["teacher", "./teacher", "~/no/such/teacher", "a/b/c", "runs/teacher"])
def test_what_looks_like_a_path_is_not_looked_up_elsewhere(tmp_path, monkeypatch, path):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastdiffError, match="no such folder"):
        load(path)
