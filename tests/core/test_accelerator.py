"""The Accelerator of a process: its device, and the options that reach it."""

import os

import pytest
import torch

from fastdiff.core.accelerator import make_accelerator


def test_it_is_on_the_gpu_where_there_is_one():
    accelerator = make_accelerator(gradient_accumulation_steps=3)
    assert accelerator.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (accelerator.num_processes, accelerator.gradient_accumulation_steps) == (1, 3)
    assert accelerator.mixed_precision == "no"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRADIENT_ACCUMULATION_STEPS", "4"),
        ("DYNAMO_BACKEND", "INDUCTOR"),
        ("USE_DEEPSPEED", "true"),
        ("USE_FSDP", "true"),
        ("USE_MEGATRON_LM", "true"),
        ("USE_PARALLELISM_CONFIG", "true"),
        ("MIXED_PRECISION", "bf16"),
    ],
)
def test_the_environment_changes_no_training(monkeypatch, name, value):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    monkeypatch.setenv("ACCELERATE_LOG_LEVEL", "WARNING")
    accelerator = make_accelerator()
    assert (accelerator.gradient_accumulation_steps, accelerator.mixed_precision) == (1, "no")
    assert f"ACCELERATE_{name}" not in os.environ  # libraries read some of them later
    assert os.environ["ACCELERATE_LOG_LEVEL"] == "WARNING"
