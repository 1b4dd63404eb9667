"""The defaults of torch that a program has set change no model, no sample and no data."""

import pytest
import torch

import fastdiff
from fastdiff.core.defaults import float32_on_cpu
from tests.helpers.paths import ROOT

MODEL = ROOT / "checkpoints/digits/consistency"


@pytest.fixture
def bfloat16():
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


def drawn():
    return fastdiff.sample(fastdiff.load(MODEL), n=2, steps=2, seed=3)


def test_a_default_type_changes_nothing(bfloat16):
    with float32_on_cpu():
        expected = drawn()
    found = drawn()
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    assert torch.get_default_dtype() == torch.bfloat16  # as the program has it


def test_a_default_device_changes_nothing():
    expected = drawn()
    with torch.device("meta"):
        found = drawn()
        digits = fastdiff.open_dataset("digits").examples
        assert torch.empty(1).device.type == "meta"
    assert torch.equal(found, expected) and digits.device.type == "cpu"


def test_the_defaults_come_back_after_an_error(bfloat16):
    with pytest.raises(ZeroDivisionError), float32_on_cpu():
        assert torch.empty(1).dtype == torch.float32
        raise ZeroDivisionError
    assert torch.empty(1).dtype == torch.bfloat16
