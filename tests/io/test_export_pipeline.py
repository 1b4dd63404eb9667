"""Students of latents, prompts and images in diffusers' hands:
the script in each card makes the pixels of our sampler."""

from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline, LCMScheduler

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.guidance import Guided, usual_guidance
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.io.export.script import cascade, script
from fastdiff.io.load import load
from fastdiff.io.metadata import read_metadata
from fastdiff.networks import dit, mlp, text_unet, unet
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.conditions import conditions, rows_of
from fastdiff.samplers.plan import plan
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.card_scripts import block, run

DDIM, LCM, EULER = (Sampling(name, "uniform", (2,)) for name in ("ddim", "consistency", "euler"))


UNEVEN = Sampling("consistency", "trailing", (3,))


TCD, FAR = Sampling("gamma", "trailing", (3,)), Sampling("overshoot", "uniform", (4,))


TEACHERS = {
    "sd": tiny.stable_diffusion,
    "lcm": lambda at: tiny.stable_diffusion(
        at, "LatentConsistencyModelPipeline", LCMScheduler(), time_cond_proj_dim=8
    ),
    "sdxl": tiny.sdxl,
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "schnell": lambda at: tiny.flux(at, guided=False),
    "alpha": lambda at: tiny.pixart(),
    "sigma": lambda at: tiny.pixart("PixArtSigmaPipeline"),
    "dit": lambda at: tiny.dit(),
    "ldm": lambda at: tiny.ldm(),
    "cm": lambda at: tiny.consistency(),
    "cm by class": lambda at: tiny.consistency(classes=5),
}


def told(model):
    return with_guidance(model, (2.0, 4.0))


def on_cosine(model):
    return Denoiser(
        model.net,
        Cosine(),
        "v",
        model.shape,
        model.time_input,
        model.sigma_data,
        model.scale_input,
        sampling=model.sampling,
        latent=model.latent,
    )


def decoded(channels=4, **units):
    def changed(model):
        model.latent = Autoencoder.of(tiny.vae(channels, **units))
        return model

    return changed


BY_CHANNEL = decoded(latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[0.5, 2.0, 1.0, 1.5])


# name: the teacher, how the student is sampled, what of diffusers its script calls, and how it differs from
# the teacher
KINDS = {
    "stable diffusion": ("sd", DDIM, "StableDiffusionPipeline"),
    "stable diffusion, consistency": ("sd", LCM, "StableDiffusionPipeline"),
    "stable diffusion, three steps": ("sd", UNEVEN, "StableDiffusionPipeline"),
    "stable diffusion, tcd": ("sd", TCD, "StableDiffusionPipeline"),
    "stable diffusion, told guidance": ("sd", LCM, "StableDiffusionPipeline", told),
    "stable diffusion, two times": ("sd", DDIM, "UNet2DConditionModel", with_second_time),
    "stable diffusion, told both": ("sd", TCD, "UNet2DConditionModel", told, with_second_time),
    "stable diffusion, tcd's noise": ("sd", FAR, "UNet2DConditionModel"),
    "stable diffusion, shifted latents": ("sd", DDIM, "UNet2DConditionModel", decoded(shift_factor=0.3)),
    "stable diffusion, latents by channel": ("sd", LCM, "UNet2DConditionModel", BY_CHANNEL),
    "sdxl": ("sdxl", LCM, "StableDiffusionXLPipeline"),
    "sdxl, told guidance": ("sdxl", DDIM, "StableDiffusionXLPipeline", told),
    "sdxl, latents by channel": ("sdxl", TCD, "StableDiffusionXLPipeline", BY_CHANNEL),
    "sdxl, two times": ("sdxl", LCM, "UNet2DConditionModel", with_second_time),
    "lcm": ("lcm", None, "LatentConsistencyModelPipeline"),
    "lcm, ddim": ("lcm", DDIM, "StableDiffusionPipeline"),
    "pixart": ("sigma", DDIM, "PixArtSigmaPipeline"),
    "pixart, consistency": ("sigma", UNEVEN, "PixArtSigmaPipeline"),
    "pixart, told guidance": ("sigma", TCD, "PixArtTransformer2DModel", told),
    "pixart that is told sizes, two times": ("alpha", DDIM, "PixArtTransformer2DModel", with_second_time),
    "sd3": ("sd3", EULER, "StableDiffusion3Pipeline"),
    "sd3, its own grid": ("sd3", None, "StableDiffusion3Pipeline"),
    "sd3, consistency": ("sd3", LCM, "SD3Transformer2DModel"),
    "sd3, told guidance": ("sd3", EULER, "SD3Transformer2DModel", told),
    "flux": ("flux", EULER, "FluxPipeline"),
    "flux, consistency": ("flux", LCM, "FluxTransformer2DModel"),
    "schnell": ("schnell", EULER, "FluxPipeline"),
    "schnell, a flow map": ("schnell", DDIM, "FluxTransformer2DModel", with_second_time),
    "dit": ("dit", DDIM, "DiTTransformer2DModel"),
    "dit, consistency": ("dit", LCM, "DiTTransformer2DModel"),
    "dit, tcd": ("dit", TCD, "DiTTransformer2DModel"),
    "dit from noise alone": ("dit", DDIM, "DiTPipeline", on_cosine),
    "dit, two times": ("dit", DDIM, "DiTTransformer2DModel", with_second_time),
    "dit, told guidance": ("dit", DDIM, "DiTTransformer2DModel", told),
    "dit, told both": ("dit", DDIM, "DiTTransformer2DModel", with_second_time, told),
    "latents": ("ldm", DDIM, "LDMPipeline", on_cosine),
    "latents by a loop": ("ldm", LCM, "UNet2DModel", decoded(3, shift_factor=0.1)),
    "consistency models": ("cm", None, "ConsistencyModelPipeline"),
    "consistency models by class": ("cm by class", None, "UNet2DModel"),
}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """student(kind) -> a model of a tiny pipeline, to be sampled as a student of it would be;
    teachers are made once."""
    made = {}

    def get(kind):
        teacher, sampling, _, *changes = KINDS[kind]
        if teacher not in made:
            torch.manual_seed(0)
            made[teacher] = tmp_path_factory.mktemp("teacher")
            tiny.alive(TEACHERS[teacher](made[teacher] / "tokens")).save_pretrained(made[teacher])
        model = load(made[teacher])
        model.shape, model.sampling = (*model.shape[:1], 8, 8), sampling or model.sampling
        for change in changes:
            torch.manual_seed(1)
            model = change(model)
        return awake(model)

    return get


def awake(model):
    """What begins at zero is to matter."""
    torch.manual_seed(2)
    for p in model.parameters():
        if not p.any() or p.ndim > 1 and not p[:, -1:].any():
            p.data.add_(torch.randn_like(p), alpha=0.1)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def ours(model, n, images=None):
    """Pictures in [-1, 1] of our sampler, a cascade's base first; each from a seed of its own,
    as in its script."""
    for seed, stage in reversed(list(enumerate(reversed(cascade(model))))):
        noise = torch.Generator().manual_seed(seed)
        way = plan(stage)
        name, times, options = way.sampler, way.times, dict(way.sampler_options)
        classes, weight = stage.net.num_classes, usual_guidance(stage)
        cond = conditions(
            stage.with_base(None),
            n,
            torch.arange(n) % classes if classes else None,
            ["a cat"] * n if stage.text else None,
            images if stage.net.condition_channels else None,
            weight,
        )
        x = torch.randn(n, *stage.shape, generator=noise) * float(stage.schedule.alpha_sigma(times[0])[1])
        if name in ("consistency", "gamma", "overshoot"):
            options["randn"] = lambda x, noise=noise: torch.randn(x.shape, generator=noise)
        *_, last = SAMPLERS[name](
            Guided(stage, rows_of(cond, torch.arange(n)), None, weight), x, times, **options
        )
        images = stage.latent.decode(last.x) if stage.latent else last.x
    return images


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_script_of_a_card_makes_our_pixels(student, tmp_path, monkeypatch, kind):
    export(student(kind), tmp_path, {})
    assert f"{KINDS[kind][2]}.from_pretrained(folder" in block(tmp_path)
    theirs, model = run(tmp_path, monkeypatch)["images"], load(tmp_path)
    wanted = ours(model, len(theirs))
    if not torch.is_tensor(theirs):  # a pipeline's
        theirs, wanted = torch.from_numpy(theirs).permute(0, 3, 1, 2), (wanted / 2 + 0.5).clamp(0, 1)
    assert wanted.std() > 0.02
    torch.testing.assert_close(theirs, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["stable diffusion", "stable diffusion, tcd", "sdxl", "pixart", "sd3", "schnell"]
)
def test_a_student_with_prompts_is_a_whole_pipeline(student, tmp_path, kind):
    export(student(kind), tmp_path, {})
    assert type(DiffusionPipeline.from_pretrained(tmp_path)).__name__ == KINDS[kind][2]
    assert "pipeline_tag: text-to-image" in (tmp_path / "README.md").read_text()
    again = load(tmp_path)
    (tmp_path / "fastdiff.json").unlink()
    plain, cond = load(tmp_path), again.text.encode(["a cat"])  # and ours opens it as anyone's
    assert plain.text.kind == again.text.kind == KINDS[kind][2]
    assert all(torch.equal(value, plain.text.encode(["a cat"])[key]) for key, value in cond.items())


@pytest.mark.parametrize(
    "kind", ["stable diffusion, two times", "stable diffusion, shifted latents", "sd3, told guidance"]
)
def test_what_no_pipeline_samples_is_called_none(student, tmp_path, kind):
    export(student(kind), tmp_path, {})
    assert not (tmp_path / "model_index.json").exists() and (tmp_path / "scheduler").is_dir()
    assert read_metadata(tmp_path)["text"] and load(tmp_path).text


def test_the_timesteps_are_baked_into_the_scheduler(student, tmp_path):
    model = student("stable diffusion, consistency")
    model.sampling = replace(
        LCM, times=((1000.0, 760.0, 500.0, 260.0), (1000.0, 500.0)), steps=(4, 2)
    )  # of 50 points
    export(model, tmp_path, {})
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    pipeline.scheduler.set_timesteps(4)
    assert pipeline.scheduler.timesteps.tolist() == [999, 759, 499, 259]
    assert "num_inference_steps=4" in block(tmp_path)


def upon(net, below=None, shape=(1, 8, 8), sampling=DDIM, **options):
    return awake(Denoiser(net, Cosine(), "v", shape, sampling=sampling, base=below, **options))


def upper(**options):
    torch.manual_seed(0)
    return upon(unet((1, 8, 8), 3, channels=(8, 8), layers=1, groups=4, image=2), **options)


UPON = {
    "a unet": upper,
    "a dit": lambda: upon(dit((1, 8, 8), 3, depth=1, width=8, heads=2, image=2)),
    "two times and guidance": lambda: awake(told(with_second_time(upper(sampling=LCM)))),
}


@pytest.mark.parametrize("kind", list(UPON))
def test_a_script_works_upon_images(tmp_path, monkeypatch, kind):
    export(UPON[kind](), tmp_path, {})
    names = run(tmp_path, monkeypatch)
    assert not (tmp_path / "model_index.json").exists() and names["image"].shape == (16, 2, 8, 8)
    image, labels, model = torch.rand(16, 2, 4, 4), torch.arange(16) % 3, load(tmp_path)
    more = {"generator": torch.Generator().manual_seed(0)} if model.sampling == LCM else {}
    noise = torch.randn(16, 1, 8, 8, generator=more.get("generator", torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        names["generate"](noise, labels, image, **more), ours(model, 16, image), rtol=0, atol=1e-4
    )


def cascaded(student, prompts):
    torch.manual_seed(3)
    if not prompts:
        below = upon(unet((1, 4, 4), 3, channels=(8,), layers=1, groups=4), shape=(1, 4, 4), sampling=LCM)
        middle = upon(unet((2, 4, 4), channels=(8,), layers=1, groups=4, image=1), below, (2, 4, 4))
        return upper(below=middle)
    below = student("stable diffusion, consistency")
    net = text_unet(
        (3, 16, 16), text=8, channels=(8, 8), layers=1, attention=(8,), heads=2, groups=4, image=3
    )
    return upon(net, below, (3, 16, 16), text=below.text)


@pytest.mark.parametrize("prompts", [False, True])
def test_a_script_samples_a_cascade_from_its_base_on(student, tmp_path, monkeypatch, prompts):
    export(cascaded(student, prompts), tmp_path, {})
    theirs, model = run(tmp_path, monkeypatch)["images"], load(tmp_path)
    assert len(cascade(model)) == 3 - prompts
    torch.testing.assert_close(theirs, ours(model, len(theirs)), rtol=0, atol=1e-4)


def test_what_diffusers_alone_does_not_sample_is_told():
    assert (
        "diffusers has no scheduler for the sampler dpmpp_2m"
        in script(upper(below=upper(sampling=Sampling("dpmpp_2m"))))[1]
    )
    torch.manual_seed(0)
    assert "fastdiff's own, MLP" in script(Denoiser(mlp((2,), width=8, depth=1), Cosine(), "v", (2,)))[1]
    unread = text_unet((1, 8, 8), text=8, channels=(8,), layers=1, groups=4)
    assert "but the model has no text encoder" in script(Denoiser(unread, Cosine(), "v", (1, 8, 8)))[1]
