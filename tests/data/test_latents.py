"""Latents and prompts: images encoded and captions embedded once, trained on, sampled and exported; on the digits."""

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import PIL.Image
import pytest
import torch
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import cache_folder
from fastdiff.core.guidance import Guided
from fastdiff.data import shards as parts
from fastdiff.data.dataset import batch_at
from fastdiff.data.latents import PART, embedded, encoded
from fastdiff.data.shards import Lookup, Shards
from fastdiff.data.toys import digits
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.export.model import export
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.load import about, load
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.networks.text_encoder import TextEncoder
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.edit import edit
from fastdiff.samplers.generate import sample

PIPELINE = Path("checkpoints/digits-latent/pipeline")
SOURCE = {
    "name": "prompts",
    "data": {"name": "digits", "captions": "the digit {class}"},
    "model": {
        "net": {"name": "text_unet", "channels": [16, 16], "layers": 1, "attention": [4], "heads": 2},
        "autoencoder": str(PIPELINE),
        "text": str(PIPELINE),
    },
    "train": {"batch": 16, "save_every": 2, "log_every": 1},
    "stages": {
        "teacher": {"method": "denoising", "train": {"steps": 3}},
        "guided": {"method": "guided", "teacher": "teacher", "train": {"steps": 2}},
        "progressive": {
            "method": {"name": "progressive", "steps": [2, 1]},
            "teacher": "teacher",
            "train": {"steps": 2},
        },
    },
    "bench": {"steps": [1, 2], "baselines": [], "n": 64, "batch": 64},
}


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def latent():
    return Autoencoder.open(PIPELINE)


@pytest.fixture(scope="module")
def text():
    return TextEncoder.open(PIPELINE)


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


def test_the_shipped_autoencoder_knows_the_digits(latent):
    images, _ = digits().get(torch.arange(256))
    mean, spread = latent.encode(images)
    assert (
        mean.shape == (256, 2, 4, 4)
        and 0.8 < mean.std() < 1.2
        and mean.mean().abs() < 0.2
        and (spread > 0).all()
    )
    assert (latent.decode(mean) - images).square().mean().sqrt() < 0.08
    assert latent.shape_of(latent.latent_shape((1, 8, 8))) == (1, 8, 8)


def test_the_shipped_text_encoder_tells_ten_names_apart(text):
    told = text.encode([f"the digit {name}" for name in ("zero", "one", "two")])["text"]
    assert told.shape == (3, 16, text.width) and (told[0] - told[1]).abs().max() > 0.1
    assert torch.equal(text.null(2)["text"][0], text.encode([""])["text"][0])


def test_images_are_encoded_once(accelerator, latent):
    calls = []
    counting = SimpleNamespace(
        encode=lambda x: calls.append(len(x)) or latent.encode(x), fingerprint="a" * 64
    )
    data, steps = digits(), []
    one, two = (encoded(data, counting, accelerator, steps.append) for _ in range(2))
    assert (
        sum(calls) == len(data) and one.fingerprint == two.fingerprint and one.fingerprint != data.fingerprint
    )
    rows = torch.tensor([0, PART - 1, PART, len(data) - 1])
    mean, spread = latent.encode(data.get(rows)[0])
    torch.testing.assert_close(one.examples[rows], mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.spread[rows], spread, rtol=0, atol=1e-5)
    assert one.shape == (2, 4, 4) and torch.equal(one.labels, data.labels) and steps == [PART, len(data)] * 2


def test_what_a_kill_left_is_gone_on_from_and_damaged_parts_are_made_again(accelerator, latent, capsys):
    data = digits()
    encoded(data, latent, accelerator, lambda part: None)
    folder = max((cache_folder("latents")).iterdir(), key=os.path.getmtime)
    first, second = sorted(folder.glob("*.safetensors"))
    whole, kept = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[:-8] + b"\x00" * 8)
    again = encoded(data, latent, accelerator, lambda part: None)
    assert "is damaged: made again" in capsys.readouterr().out
    assert first.read_bytes() == whole and second.stat().st_mtime_ns == kept and len(again) == len(data)


def test_a_batch_of_latents_is_drawn_by_its_positions(accelerator, latent):
    data = encoded(digits(), latent, accelerator, lambda part: None)
    whole = batch_at(data, 64, 8, seed=3)
    halves = [batch_at(data, 64, 8, seed=3, rank=rank, world=2) for rank in (0, 1)]
    assert torch.equal(whole.x0[::2], halves[0].x0) and torch.equal(whole.x0[1::2], halves[1].x0)
    noise = whole.x0 - batch_at(data, 64, 8, seed=4).x0
    assert noise.abs().max() > 0  # another seed, other draws and other examples
    index = torch.arange(len(data))
    drawn = torch.stack([batch_at(data, start, 599, seed=0).x0 for start in (0, 599, 1198)]).flatten(0, 1)
    spread = data.spread[index]
    assert abs(float(drawn.var() - (data.examples[index].var() + spread.square().mean()))) < 0.05


def test_captions_are_embedded_once_each(accelerator, text):
    data = digits(captions="the digit {class}")
    assert data.captions[:3] == ("the digit zero", "the digit one", "the digit two")
    told = embedded(data, text, accelerator, lambda part: None)
    assert len(told.told["text"].table) == 10
    batch = batch_at(told, 0, 6, seed=0)
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    wanted = text.encode([f"the digit {names[label]}" for label in batch.cond["label"].tolist()])["text"]
    torch.testing.assert_close(batch.cond["text"], wanted, rtol=0, atol=1e-6)


def test_shards_are_indexed_as_one_tensor():
    whole = torch.randn(11, 3)
    shards, rows = Shards(list(whole.split([4, 1, 6]))), torch.tensor([10, 0, 3, 4, 5, 4])
    assert torch.equal(shards[rows], whole[rows]) and len(shards) == 11 and shards.shape == (11, 3)
    assert torch.equal(Lookup(shards, torch.tensor([7, 7, 2]))[torch.tensor([2, 0])], whole[[2, 7]])


def test_a_run_in_latents_makes_images_of_prompts(run):
    teacher = load(run / "teacher")
    assert teacher.shape == (2, 4, 4) and teacher.image_shape == (1, 8, 8)
    one = sample(teacher, steps=2, n=3, prompts="the digit two")
    assert one.shape == (3, 1, 8, 8)
    assert torch.equal(one, sample(teacher, steps=2, n=3, prompts=["the digit two"] * 3))
    assert torch.equal(sample(teacher, steps=2, n=2), sample(teacher, steps=2, n=2, prompts=""))
    rows = read_rows(run / "bench.jsonl")
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
    with pytest.raises(
        FastdiffError, match="stage lcm.train.flip: mirrored latents are not those of the mirrored image"
    ):
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


def test_two_runs_may_fill_one_cache(tmp_path, monkeypatch):
    columns, inner = {"x": torch.arange(4.0)}, parts.synced

    def meanwhile(path):
        monkeypatch.setattr(parts, "synced", inner)
        parts.store(tmp_path / "0.safetensors", columns, {})  # another run stores the same
        inner(path)

    monkeypatch.setattr(parts, "synced", meanwhile)
    parts.store(tmp_path / "0.safetensors", columns, {})
    assert [path.name for path in tmp_path.iterdir()] == ["0.safetensors"]


def test_a_cache_that_is_not_to_be_had_is_told_in_a_line(tmp_path, accelerator, latent, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(FastdiffError, match="set FASTDIFF_CACHE to a folder of yours"):
        encoded(digits(), latent, accelerator, print)
    far = SimpleNamespace(
        process_index=0, num_processes=2, main_process_first=nullcontext, wait_for_everyone=lambda: None
    )
    with pytest.raises(FastdiffError, match="000001.safetensors was made on another machine"):
        parts.fill(tmp_path / "own", 2, lambda number: {"x": torch.zeros(1)}, far, print)


def test_encoders_are_sources_whose_licences_count(run):
    notes = about(run / "teacher")
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
    assert "draws by prompts, and the data digits have no captions: set `captions`" in said
    assert "speed is measured of models without prompts" in refused(
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
    assert "prompts were given, and this model takes none: give labels" in said
    assert "this model takes none" in refused(
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
        ({"data": {"name": "toy"}}, "an autoencoder of images (1, H, W)"),
        ({"train": {"flip": True}}, "train.flip: mirrored latents are not those of the mirrored image"),
        ({"data": {"name": "digits", "captions": "a {class"}}, "captions: 'a {class': expected '}'"),
        (
            {"data": {"name": "digits", "captions": "a {class:d}"}},
            "captions: 'a {class:d}': Unknown format code 'd'",
        ),
        (
            {"model": SOURCE["model"] | {"net": {"name": "unet", "channels": [16, 16]}}},
            "the network unet takes no text",
        ),
        (
            {"model": SOURCE["model"] | {"text": None}},
            "the network text_unet is told of text: set model.text",
        ),
        (
            {"model": SOURCE["model"] | {"net": SOURCE["model"]["net"] | {"text": 5}}},
            "model.net.text: 5, where model.text",
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
