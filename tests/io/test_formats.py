"""Pipelines of diffusers opened by fastdiff: from the same noise, on the same times, they make the same pictures."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FluxPipeline, LCMScheduler

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import DDPM, Flow, Karras
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.formats import READERS
from fastdiff.io.load import load
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.networks.text_encoder import TextEncoder
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.generate import conditions, sample
from fastdiff.training.placement import halve
from tests.helpers import tiny_pipelines as tiny

PROMPTS = ["a cat", "the dog runs"]
MAKERS = {
    "sd": tiny.stable_diffusion,
    "sdxl": tiny.sdxl,
    "lcm": lambda at: tiny.stable_diffusion(
        at, "LatentConsistencyModelPipeline", LCMScheduler(), time_cond_proj_dim=8
    ),
    "alpha": lambda at: tiny.pixart(),
    "sigma": lambda at: tiny.pixart("PixArtSigmaPipeline"),
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "schnell": lambda at: tiny.flux(at, guided=False),
    "dit": lambda at: tiny.dit(),
    "ldm": lambda at: tiny.ldm(),
    "cm": lambda at: tiny.consistency(classes=5),
    "pixels": lambda at: tiny.pixels(),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened("sd") -> a pipeline, our model of its folder, and the folder; made once."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(name)
            pipeline = tiny.alive(MAKERS[name](folder / "tokens"))
            pipeline.save_pretrained(folder / "model")
            made[name] = pipeline, load(folder / "model"), folder / "model"
        return made[name]

    return get


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ours(model, sampler, x, times, prompts=None, labels=None, guidance=1.0, randn=None, **options):
    """Pictures in [0, 1] of our sampler from x at times[0]."""
    cond = conditions(model, len(x), labels, prompts, guidance=guidance)
    null = model.null(cond) if guidance != 1 and not model.guidance else None
    noise = {"randn": randn} if randn else {}
    *_, last = SAMPLERS[sampler](Guided(model, cond, null, guidance, **options), x, times, **noise)
    image = model.latent.decode(last.x) if model.latent else last.x
    return (image / 2 + 0.5).clamp(0, 1)


def table_times(pipeline):
    return torch.tensor([*(float(t) + 1 for t in pipeline.scheduler.timesteps), 0.0], dtype=torch.float64)


def flow_times(pipeline):
    return pipeline.scheduler.sigmas.double()


def same(images, wanted):
    wanted = torch.from_numpy(wanted).permute(0, 3, 1, 2) if isinstance(wanted, np.ndarray) else wanted
    assert (
        (wanted > 0.01) & (wanted < 0.99)
    ).float().mean() > 0.5 and wanted.std() > 0.02  # not all of it is clamped
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-4)


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


# ---- with prompts


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", ["sd", "sdxl", "alpha", "sigma"])
def test_tables_with_prompts(opened, name, guidance):
    pipeline, model, _ = opened(name)
    x = noise(2, 4, 8, 8)
    more = {"use_resolution_binning": False, "clean_caption": False} if name in ("alpha", "sigma") else {}
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=x.clone(),
        output_type="pt",
        **more,
    ).images
    side = 128 if name == "alpha" else 8
    assert isinstance(model.schedule, DDPM)
    assert (model.shape, model.image_shape) == ((4, side, side), (3, 2 * side, 2 * side))
    same(ours(model, "ddim", x, table_times(pipeline), PROMPTS, guidance=guidance), wanted)
    own = model.sampling
    assert own.sampler == "ddim" and torch.equal(
        time_grid(model.schedule, 4, own.spacing), table_times(pipeline)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
    ids=str,
)
def test_other_predictions_and_zero_snr(opened, tmp_path, options):
    pipeline, _, folder = opened("sd")
    scheduler = DDIMScheduler(**tiny.VP, timestep_spacing="trailing", **options)
    shutil.copytree(folder, tmp_path / "model")
    scheduler.save_pretrained(tmp_path / "model/scheduler")
    model, x = load(tmp_path / "model"), noise(2, 4, 8, 8)
    parts = pipeline.components | {"scheduler": scheduler}
    theirs = tiny.quiet(type(pipeline)(**parts, requires_safety_checker=False))
    wanted = theirs(
        PROMPTS,
        num_inference_steps=4,
        guidance_scale=2.0,
        latents=x.clone(),
        output_type="pt",
        height=16,
        width=16,
    ).images
    same(
        ours(model, "ddim", x, time_grid(model.schedule, 4, model.sampling.spacing), PROMPTS, guidance=2.0),
        wanted,
    )


@pytest.mark.parametrize(
    ("name", "guidance"), [("sd3", 1.0), ("sd3", 4.0), ("flux", 1.0), ("flux", 3.5), ("schnell", 1.0)]
)
def test_flows_with_prompts(opened, name, guidance):
    pipeline, model, _ = opened(name)
    x = noise(2, 4, 8, 8)
    theirs = FluxPipeline._pack_latents(x, 2, 4, 8, 8) if name != "sd3" else x.clone()
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=theirs,
        output_type="pt",
    ).images
    assert (
        model.schedule == Flow()
        and model.predicts == "velocity"
        and (model.guidance is None) == (name != "flux")
    )
    same(ours(model, "euler", x, flow_times(pipeline), PROMPTS, guidance=guidance), wanted)


def test_flows_are_sampled_on_their_own_times(opened):
    pipeline, model, _ = opened("sd3")
    pipeline.scheduler.set_timesteps(28)
    own = time_grid(model.schedule, 28, model.sampling.spacing_for(28))
    torch.testing.assert_close(own, flow_times(pipeline), rtol=0, atol=1e-6)
    for name in ("flux", "schnell"):
        pipeline, model, _ = opened(name)
        mu = diffusers.pipelines.flux.pipeline_flux.calculate_shift(model.shape[1] * model.shape[2] // 4)
        pipeline.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=mu)
        own = time_grid(model.schedule, 6, model.sampling.spacing_for(6))
        torch.testing.assert_close(own, flow_times(pipeline), rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_latent_consistency(opened, steps):
    pipeline, model, _ = opened("lcm")
    x, generator = noise(2, 4, 8, 8), torch.Generator().manual_seed(5)
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=steps,
        guidance_scale=5.0,
        latents=x.clone(),
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    times = time_grid(model.schedule, steps, model.sampling.spacing_for(steps))
    assert (
        torch.equal(times, table_times(pipeline))
        and model.sampling.sampler == "consistency"
        and model.guidance
    )
    same(
        ours(
            model,
            "consistency",
            x,
            times,
            PROMPTS,
            guidance=5.0,
            randn=lambda x: torch.randn(x.shape, generator=generator),
        ),
        wanted,
    )


def test_sampling_asks_for_no_more_than_prompts(opened):
    for name in ("sd", "lcm", "sd3"):
        _, model, _ = opened(name)
        images = sample(model, steps=2, n=2, prompts="a cat", guidance=2.0)
        assert images.shape == (2, 3, 16, 16) and images.isfinite().all()
        assert not torch.equal(images, sample(model, steps=2, n=2, prompts="dog", guidance=2.0))
        assert torch.equal(
            sample(model, steps=2, n=2, seed=3), sample(model, steps=2, n=2, seed=3, prompts="")
        )


# ---- without


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
            clip=1.0,
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
    [row] = read_rows(tmp_path / "run/bench.jsonl")
    assert row["fd_digits"] > 0 and load(tmp_path / "run/student").classes == 10


def test_a_tokenizer_without_its_words_is_refused(opened, tmp_path):
    shutil.copytree(opened("sd")[2], tmp_path / "sd")
    for name in ("tokenizer.json", "vocab.json"):
        (tmp_path / "sd/tokenizer" / name).unlink(missing_ok=True)
    with pytest.raises(
        FastdiffError, match="tokenizer cannot be read: expected one of tokenizer.json, vocab.json"
    ):
        load(tmp_path / "sd")


def test_what_no_prompt_is_identifies_a_text_encoder(tmp_path):
    tiny.sdxl(tmp_path / "tokens").save_pretrained(tmp_path / "sdxl")
    at, index = tmp_path / "sdxl", json.loads((tmp_path / "sdxl/model_index.json").read_text())
    one, two = (
        TextEncoder.open(at, index | {"force_zeros_for_empty_prompt": zero}) for zero in (True, False)
    )
    assert (
        one.null(1)["text"] - two.null(1)["text"]
    ).abs().max() > 1e-3 and one.fingerprint != two.fingerprint


def test_labels_without_a_null_class(opened):
    _, model, _ = opened("cm")
    assert sample(model, n=1, labels=4).isfinite().all()
    for said, options in (
        ("needs labels", {}),
        ("labels must be 0 to 4", {"labels": 5}),
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


# ---- parts


def test_latents_are_in_the_models_units(opened):
    images = noise(3, 3, 16, 16).clamp(-1, 1)
    pipeline, model, _ = opened("sd3")
    with torch.no_grad():
        law = pipeline.vae.encode(images).latent_dist
    mean, std = model.latent.encode(images)
    torch.testing.assert_close(mean, (law.mean - 0.1) * 1.5)
    torch.testing.assert_close(std, law.std * 1.5)
    _, exact, _ = opened("ldm")
    latents, none = exact.latent.encode(images)
    assert not none.any() and latents.shape == (3, 3, 8, 8) and exact.latent.folder == "vqvae"
    assert exact.latent.decode(latents).shape == images.shape


def test_latents_may_have_units_by_channel():
    torch.manual_seed(0)
    module = tiny.vae(scaling_factor=0.5, latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[1.0, 2.0, 1.0, 2.0])
    latent, z = Autoencoder.of(module), noise(2, 4, 8, 8)
    with torch.no_grad():
        own = z * torch.tensor([1.0, 2.0, 1.0, 2.0]).view(4, 1, 1) / 0.5 + torch.arange(1.0, 5).view(4, 1, 1)
        torch.testing.assert_close(latent.decode(z), module.decode(own).sample)


def test_decoding_in_slices_is_decoding(opened, monkeypatch):
    _, model, _ = opened("sd")
    z = noise(5, 4, 8, 8)
    whole = model.latent.decode(z)
    monkeypatch.setattr("fastdiff.networks.autoencoder.PIXELS", 2 * 16 * 16)
    torch.testing.assert_close(model.latent.decode(z), whole)
    assert model.latent.__deepcopy__({}) is model.latent


def test_a_tiny_autoencoder(tmp_path):
    module = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).eval()
    Autoencoder.of(module).save(tmp_path)
    latent, images = Autoencoder.open(tmp_path), noise(2, 3, 16, 16)
    mean, std = latent.encode(images)
    with torch.no_grad():
        torch.testing.assert_close(mean, module.encode(images).latents)
        torch.testing.assert_close(latent.decode(mean), module.decode(mean).sample)
    assert latent.shape_of((4, 8, 8)) == (3, 16, 16) and not std.any()


@pytest.mark.parametrize("name", ["sd", "sdxl", "alpha", "sd3", "flux"])
def test_text_encoders_come_back_as_they_were_saved(opened, tmp_path, name):
    _, model, _ = opened(name)
    model.text.save(tmp_path)
    again = type(model.text).open(tmp_path, json.loads(json.dumps(model.text.index)))
    for one, other in (
        (model.text.encode(PROMPTS), again.encode(PROMPTS)),
        (model.text.null(2), again.null(2)),
    ):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert {value.shape[0] for value in again.null(3).values()} == {3}
    many = again.encode(["a", "b"] * 40)
    assert {len(value) for value in many.values()} == {80}
    torch.testing.assert_close(many["text"][78:], again.encode(["a", "b"])["text"])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "with_second_time") for name in ("sd3", "flux", "schnell", "alpha")),
        *((name, "with_guidance") for name in ("sd3", "schnell", "alpha")),
    ],
)
def test_transformers_take_a_second_time_and_a_weight(opened, name, what):
    _, model, _ = opened(name)
    net, x, t = model.net, noise(2, 4, 8, 8), torch.tensor([300.0, 700.0])
    cond, weak, strong = model.text.encode(PROMPTS), torch.tensor([1.0, 1.0]), torch.tensor([3.0, 5.0])
    guided = what == "with_guidance" or name == "flux"
    with torch.no_grad():
        more = getattr(net, what)()
        torch.testing.assert_close(more(x, t, t / 2, cond | {"guidance": weak}), net(x, t, t, cond))
        for p in more.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)), alpha=0.05)
        one, other = (
            more(x, t, t / 2, cond | {"guidance": weak}),
            more(x, t, t / 3, cond | {"guidance": weak}),
        )
        assert torch.allclose(one, other) == (what == "with_guidance")
        other = more(x, t, t / 2, cond | {"guidance": strong})
        assert torch.allclose(one, other) == (not guided)
        again = type(net).of(more.module, (4, 8, 8), guided)
        again.pixels = model.image_shape[1] // model.shape[1]
        assert torch.equal(again(x, t, t / 2, cond | {"guidance": weak}), one)


# ---- what cannot be opened


def test_an_unknown_pipeline_is_refused_with_those_that_are_known(opened, tmp_path):
    shutil.copytree(opened("pixels")[2], tmp_path / "model")
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    (tmp_path / "model/model_index.json").write_text(json.dumps(index | {"_class_name": "WanPipeline"}))
    with pytest.raises(
        FastdiffError, match="this 'WanPipeline' is not supported, only DDPMPipeline, "
    ) as caught:
        load(tmp_path / "model")
    assert all(name in str(caught.value) for name in READERS) and "\n" not in str(caught.value)


def edited(path, **change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


BAD = {
    "prediction": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", prediction_type="flow_prediction"),
        "scheduler.prediction_type: input should be 'epsilon', 'v_prediction' or 'sample'",
    ),
    "betas": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", beta_schedule="laplace"),
        "scheduler.beta_schedule: input should be",
    ),
    "scheduler": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", _class_name="EDMEulerScheduler"),
        "scheduler: this 'EDMEulerScheduler' is not supported here, only DDPMScheduler, ",
    ),
    "a table for a flow": (
        "sd3",
        lambda at: edited(at / "scheduler/scheduler_config.json", _class_name="DDIMScheduler"),
        "only FlowMatchEulerDiscreteScheduler",
    ),
    "inverted flow": (
        "sd3",
        lambda at: edited(at / "scheduler/scheduler_config.json", invert_sigmas=True),
        "scheduler.invert_sigmas: input should be False",
    ),
    "consistency at another sigma_min": (
        "cm",
        lambda at: edited(at / "scheduler/scheduler_config.json", sigma_min=0.01),
        "scheduler.sigma_min",
    ),
    "network": (
        "sd",
        lambda at: edited(at / "model_index.json", unet=["diffusers", "Kandinsky3UNet"]),
        "unet: \\['diffusers', 'Kandinsky3UNet'\\] is not supported, only a UNet2DConditionModel",
    ),
    "text encoder": (
        "sd",
        lambda at: edited(at / "model_index.json", text_encoder=["evil", "Model"]),
        "text_encoder: this 'Model' is not supported, only CLIPTextModel",
    ),
    "text encoder gone": ("sd", lambda at: shutil.rmtree(at / "text_encoder"), "text_encoder cannot be read"),
    "text encoder left out": (
        "sd3",
        lambda at: edited(at / "model_index.json", text_encoder_3=[None, None]),
        "text_encoder_3 is left out of the pipeline",
    ),
    "tokenizer gone": ("sd", lambda at: shutil.rmtree(at / "tokenizer"), "tokenizer cannot be read"),
    "text encoder pickled": (
        "sd",
        lambda at: (at / "text_encoder/model.safetensors").rename(at / "text_encoder/pytorch_model.bin"),
        "pytorch_model.bin is pickled, which could run code",
    ),
    "vae gone": ("sd", lambda at: shutil.rmtree(at / "vae"), "has no vae"),
    "vae of another kind": (
        "sd",
        lambda at: edited(at / "vae/config.json", _class_name="AutoencoderDC"),
        "this 'AutoencoderDC' is not supported, only AutoencoderKL",
    ),
    "size": ("pixels", lambda at: edited(at / "unet/config.json", sample_size=None), "sample_size"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_what_is_wrong_is_named_in_one_line(opened, tmp_path, what):
    name, spoil, message = BAD[what]
    folder = shutil.copytree(opened(name)[2], tmp_path / "model")
    spoil(folder)
    with pytest.raises(FastdiffError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_vae_that_does_not_fit_is_told(opened, tmp_path):
    folder = shutil.copytree(opened("sd")[2], tmp_path / "model")
    shutil.rmtree(folder / "vae")
    tiny.vae(latents=16).save_pretrained(folder / "vae")
    with pytest.raises(
        FastdiffError, match="an autoencoder of 16 latent channels does not fit a network whose"
    ):
        load(folder)


def test_unknown_keys_of_newer_versions_are_ignored(opened, tmp_path):
    _, model, folder = opened("sd")
    folder = shutil.copytree(folder, tmp_path / "model")
    for name in (
        "unet/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
    ):
        edited(folder / name, novelty=[1, 2])
    x, t, cond = noise(1, 4, 8, 8), torch.tensor(500.0), model.text.encode(["a"])
    assert torch.equal(load(folder)(x, t, cond=cond).x0, model(x, t, cond=cond).x0)


def test_shards_that_do_not_add_up_are_told(opened, tmp_path):
    folder = shutil.copytree(opened("sd")[2], tmp_path / "model")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    parts = sorted((folder / "unet").glob("*.safetensors"))
    assert len(parts) > 1 and fastdiff.load(folder).net is not None
    parts[0].unlink()
    with pytest.raises(FastdiffError, match=f"{parts[0].name}.*is not there"):
        load(folder)
