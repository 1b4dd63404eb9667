"""Text encoders: names told apart, and files that come back as they were saved."""

import json
import sys

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.networks.text_encoder import TextEncoder, pipeline_class
from tests.helpers.latents import PIPELINE
from tests.helpers.opened_pipelines import PROMPTS


@pytest.fixture(scope="module")
def text():
    return TextEncoder.open(PIPELINE)


def test_the_shipped_text_encoder_tells_ten_names_apart(text):
    told = text.encode([f"the digit {name}" for name in ("zero", "one", "two")])["text"]
    assert told.shape == (3, 16, text.width) and (told[0] - told[1]).abs().max() > 0.1
    assert torch.equal(text.null(2)["text"][0], text.encode([""])["text"][0])


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


def test_versions_that_do_not_work_together_are_one_line(monkeypatch):
    class Broken:
        __version__ = "0.35.0"

        def __getattr__(self, name):
            raise RuntimeError("Failed to import because of:\ncannot import name 'FLAX_WEIGHTS_NAME'")

    monkeypatch.setitem(sys.modules, "diffusers", Broken())
    with pytest.raises(
        FastdiffError, match="^diffusers 0.35.0 has no working Flux.* 'FLAX_W.*doctor`"
    ) as caught:
        pipeline_class("FluxPipeline")
    assert "\n" not in str(caught.value)
