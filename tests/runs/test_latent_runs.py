"""Runs in latents, with prompts: trained, sampled, edited and exported; on the digits."""

import shutil

import PIL.Image
import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.data.toys import digits
from fastdiff.io.export.model import export
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.load import load, read_metadata
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.edit import edit
from fastdiff.samplers.generate import sample
from tests.helpers.latents import PIPELINE, SOURCE
from tests.helpers.rows import model_rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in latents, with prompts."""
    return stages.run(recipe.build(SOURCE), tmp_path_factory.mktemp("run"))


def awake(model):
    """With weights by which it hears what it is told: three steps leave it deaf."""
    with torch.no_grad():
        for p in model.net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    return model


def test_a_run_in_latents_makes_images_of_prompts(run):
    teacher = load(run / "teacher")
    assert teacher.shape == (2, 4, 4) and teacher.image_shape == (1, 8, 8)
    one = sample(teacher, steps=2, n=3, prompts="the digit two")
    assert one.shape == (3, 1, 8, 8)
    assert torch.equal(one, sample(teacher, steps=2, n=3, prompts=["the digit two"] * 3))
    assert torch.equal(sample(teacher, steps=2, n=2), sample(teacher, steps=2, n=2, prompts=""))
    rows = model_rows(run)
    assert {row["model"] for row in rows} == {"teacher", "guided", "progressive-2", "progressive-1"}
    assert all(row["fd_digits"] > 0 and row["nfe"] == row["steps"] for row in rows)


def test_guidance_goes_from_the_empty_prompt_to_the_prompt(run):
    teacher = awake(load(run / "teacher"))
    x, t = torch.randn(2, 2, 4, 4), torch.tensor(0.5, dtype=torch.float64)
    cond = {
        name: value.expand(2, *value.shape[1:])
        for name, value in teacher.text.encode(["the digit two"]).items()
    }
    null = teacher.null(cond)
    told, empty = teacher(x, t, t, cond).x0, teacher(x, t, t).x0
    torch.testing.assert_close(teacher(x, t, t, null).x0, empty)
    assert (told - empty).abs().max() > 1e-4
    guided = Guided(teacher, cond, null, 3.0)(x, t, t).x0
    torch.testing.assert_close(guided, empty + 3 * (told - empty), rtol=1e-4, atol=1e-5)


def test_what_stands_beside_the_network_identifies_a_model(run, tmp_path):
    model = load(run / "teacher")
    export(model, tmp_path / "same", {})
    assert fingerprint(tmp_path / "same") == fingerprint(run / "teacher")
    with torch.no_grad():
        model.latent = Autoencoder.open(PIPELINE)
        next(model.latent.module.parameters()).add_(0.1)
    export(model, tmp_path / "other", {})
    assert fingerprint(tmp_path / "other") != fingerprint(run / "teacher")


def test_latents_of_a_teacher_elsewhere_are_not_mirrored(run, tmp_path):
    pixels = {"net": {"name": "unet", "channels": [16, 16]}}
    source = SOURCE | {
        "model": pixels,
        "train": SOURCE["train"] | {"flip": True},
        "stages": {"lcm": {"method": "lcm", "teacher": str(run / "teacher"), "train": {"steps": 1}}},
    }
    with pytest.raises(FastdiffError, match="stage lcm.train.flip: latents cannot be mirrored"):
        stages.run(recipe.build(source), tmp_path)


def test_an_image_is_edited_by_a_prompt(run):
    model, image = awake(load(run / "teacher")), digits().get(torch.tensor([3]))[0]
    two, none = (
        edit(model, image, strength=0.7, steps=3, prompts=prompt) for prompt in ("the digit two", None)
    )
    assert two.shape == (1, 1, 8, 8) and (two - none).abs().max() > 1e-4


def test_the_way_of_samples_is_seen_as_images(run):
    sheets = sorted((run / "trajectory").glob("*.png"))
    assert sheets
    for sheet in sheets:
        with PIL.Image.open(sheet) as picture:
            assert picture.mode == "L" and picture.height % 8 == 0 and picture.width % 8 == 0


def test_encoders_are_sources_whose_licences_count(run):
    notes = read_metadata(run / "teacher")
    assert notes["sources"] == {"autoencoder": "pipeline", "text": "pipeline", "data": "digits"}
    assert set(notes["licences"]) == set(notes["sources"])


def test_a_copy_of_an_autoencoder_does_not_say_where_it_lay(run):
    assert str(PIPELINE.resolve()) not in (run / "teacher/vae/config.json").read_text()


@pytest.mark.parametrize("what", ["vae", "text_encoder"])
def test_what_was_exchanged_beside_the_network_is_refused(run, what, tmp_path):
    shutil.copytree(run / "teacher", tmp_path / "copy", ignore=shutil.ignore_patterns("state"))
    weights = next((tmp_path / "copy" / what).glob("*.safetensors"))
    broken = bytearray(weights.read_bytes())
    broken[-1] ^= 1
    weights.write_bytes(broken)
    with pytest.raises(FastdiffError, match=f"is missing {what}/.*safetensors, or it is damaged"):
        load(tmp_path / "copy")


def test_a_benchmark_of_prompts_needs_captions(run, refused, tmp_path):
    said = refused("bench", run / "teacher", "--steps", 1, "-n", 32, "--out", tmp_path)
    assert "needs prompts, but the data digits have no captions: set `captions`" in said
    assert "expected a model without prompts and image conditions" in refused(
        "bench", run / "teacher", "--speed", "--out", tmp_path
    )


def test_the_command_line_takes_prompts(run, fastdiff, refused, tmp_path):
    assert (
        fastdiff(
            "sample", run / "teacher", "--prompt", "the digit two", "-n", 2, "--out", tmp_path / "a.png"
        )[0]
        == 0
    )
    assert (tmp_path / "a.png").is_file()
    said = refused(
        "sample", run / "teacher", "--prompt", "a", "--prompt", "b", "-n", 3, "--out", tmp_path / "b.png"
    )
    assert "prompts: 2 of them for n = 3" in said
    said = refused(
        "sample", "checkpoints/digits-labels/teacher", "--prompt", "a", "--out", tmp_path / "b.png"
    )
    assert "prompts: this model takes no prompts; give labels" in said
    assert "this model takes no labels" in refused(
        "sample", run / "teacher", "--labels", 3, "--out", tmp_path / "b.png"
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": {"name": "digits"}}, "the data digits have no captions: set `captions`"),
        (
            {"data": {"name": "digits", "captions": "{colour}"}},
            "captions: {colour} is unknown, choose from class",
        ),
        ({"data": {"name": "toy"}}, "the autoencoder takes (1, H, W)"),
        ({"train": {"flip": True}}, "train.flip: latents cannot be mirrored"),
        ({"data": {"name": "digits", "captions": "a {class"}}, "captions: 'a {class': expected '}'"),
        (
            {"data": {"name": "digits", "captions": "a {class:d}"}},
            "captions: 'a {class:d}': row 0: Unknown format code 'd'",
        ),
        (
            {"model": SOURCE["model"] | {"net": {"name": "unet", "channels": [16, 16]}}},
            "the network unet does not take text",
        ),
        (
            {"model": SOURCE["model"] | {"text": None}},
            "model.text is missing: the network text_unet takes text",
        ),
        (
            {"model": SOURCE["model"] | {"net": SOURCE["model"]["net"] | {"text": 5}}},
            "model.net.text = 5: expected ",
        ),
        ({"model": SOURCE["model"] | {"autoencoder": "checkpoints/digits"}}, "model.autoencoder: "),
        ({"model": SOURCE["model"] | {"text": "checkpoints/digits"}}, "model.text: "),
        ({"model": SOURCE["model"] | {"text": "no/where/at-all"}}, "no such folder"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(change, line, tmp_path):
    with pytest.raises(FastdiffError) as refusal:
        stages.run(recipe.build(SOURCE | change), tmp_path)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)
