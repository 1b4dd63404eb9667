"""Latents: images encoded and captions embedded once, kept in parts, and drawn by their positions."""

import os
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from fastdiff.core import files
from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import cache_folder
from fastdiff.data import shards as parts
from fastdiff.data.dataset import batch_at
from fastdiff.data.latents import PART_EXAMPLES, embedded, encoded
from fastdiff.data.shards import Lookup, Shards
from fastdiff.data.toys import digits
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.networks.text_encoder import TextEncoder
from tests.helpers.latents import PIPELINE


@pytest.fixture(scope="module")
def latent():
    return Autoencoder.open(PIPELINE)


@pytest.fixture(scope="module")
def text():
    return TextEncoder.open(PIPELINE)


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def test_images_are_encoded_once(accelerator, latent):
    calls = []
    counting = SimpleNamespace(encode=lambda x: calls.append(len(x)) or latent.encode(x), cache_key="a" * 64)
    data, steps = digits(), []
    one, two = (encoded(data, counting, accelerator, steps.append) for _ in range(2))
    assert (
        sum(calls) == len(data) and one.fingerprint == two.fingerprint and one.fingerprint != data.fingerprint
    )
    rows = torch.tensor([0, PART_EXAMPLES - 1, PART_EXAMPLES, len(data) - 1])
    mean, spread = latent.encode(data.get(rows)[0])
    torch.testing.assert_close(one.examples[rows], mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.spread[rows], spread, rtol=0, atol=1e-5)
    assert (
        one.shape == (2, 4, 4)
        and torch.equal(one.labels, data.labels)
        and steps == [PART_EXAMPLES, len(data)] * 2
    )


def test_what_a_kill_left_is_gone_on_from_and_damaged_parts_are_made_again(accelerator, latent, capsys):
    data = digits()
    encoded(data, latent, accelerator, lambda part: None)
    folder = max((cache_folder("latents")).iterdir(), key=os.path.getmtime)
    first, second = sorted(folder.glob("*.safetensors"))
    whole, kept = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[:-8] + b"\x00" * 8)
    again = encoded(data, latent, accelerator, lambda part: None)
    assert "is damaged and will be computed again" in capsys.readouterr().out
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
    assert len(told.conditions["text"].table) == 10
    batch = batch_at(told, 0, 6, seed=0)
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    wanted = text.encode([f"the digit {names[label]}" for label in batch.cond["label"].tolist()])["text"]
    torch.testing.assert_close(batch.cond["text"], wanted, rtol=0, atol=1e-6)


def test_what_latents_are_made_of_goes_with_them(accelerator, text):
    """It alone identifies them, whatever else is changed."""
    data = digits(captions="the digit {class}")
    latents = embedded(data, text, accelerator, lambda part: None)
    assert latents.made_of == {"data": data.fingerprint, "text": text.cache_key}
    assert latents.fingerprint == replace(latents, captions=None).fingerprint != data.fingerprint
    assert latents.fingerprint == files.identity(data=data.fingerprint, text=text.cache_key)


def test_shards_are_indexed_as_one_tensor():
    whole = torch.randn(11, 3)
    shards, rows = Shards(list(whole.split([4, 1, 6]))), torch.tensor([10, 0, 3, 4, 5, 4])
    assert torch.equal(shards[rows], whole[rows]) and len(shards) == 11 and shards.shape == (11, 3)
    assert torch.equal(Lookup(shards, torch.tensor([7, 7, 2]))[torch.tensor([2, 0])], whole[[2, 7]])


def test_two_runs_may_fill_one_cache(tmp_path, monkeypatch):
    columns, inner = {"x": torch.arange(4.0)}, files.synced

    def meanwhile(path):
        monkeypatch.setattr(files, "synced", inner)
        parts.store(tmp_path / "0.safetensors", columns, {})  # another run stores the same
        inner(path)

    monkeypatch.setattr(files, "synced", meanwhile)
    parts.store(tmp_path / "0.safetensors", columns, {})
    assert [path.name for path in tmp_path.iterdir()] == ["0.safetensors"]


def test_a_cache_that_is_not_to_be_had_is_told_in_a_line(tmp_path, accelerator, latent, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(FastdiffError, match="set FASTDIFF_CACHE to a folder that is yours"):
        encoded(digits(), latent, accelerator, print)
    far = SimpleNamespace(
        process_index=0, num_processes=2, main_process_first=nullcontext, wait_for_everyone=lambda: None
    )
    with pytest.raises(FastdiffError, match="000001.safetensors: written on another machine"):
        parts.fill(tmp_path / "own", 2, lambda number: {"x": torch.zeros(1)}, far, print)
