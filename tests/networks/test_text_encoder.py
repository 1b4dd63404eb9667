"""Text encoders: names told apart, and files that come back as they were saved."""

import pytest
import torch

from fastdiff.networks.text_encoder import TextEncoder
from tests.helpers.latents import PIPELINE


@pytest.fixture(scope="module")
def text():
    return TextEncoder.open(PIPELINE)


def test_the_shipped_text_encoder_tells_ten_names_apart(text):
    told = text.encode([f"the digit {name}" for name in ("zero", "one", "two")])["text"]
    assert told.shape == (3, 16, text.width) and (told[0] - told[1]).abs().max() > 0.1
    assert torch.equal(text.null(2)["text"][0], text.encode([""])["text"][0])
