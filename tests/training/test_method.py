"""What the training loop needs of a method: every method and every place of a training has it."""

import inspect

import pytest

from fastdiff.methods import METHODS, Progress
from fastdiff.training.method import Clock, Teachable

HOOKS = {name: hook for name, hook in vars(Teachable).items() if inspect.isfunction(hook) and name[0] != "_"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_hooks_of_the_loop(name):
    assert set(HOOKS) == {"trainable_networks", "frozen_networks", "target_emas", "turns", "loss"}
    for hook, wanted in HOOKS.items():
        assert list(inspect.signature(getattr(METHODS[name], hook)).parameters) == list(
            inspect.signature(wanted).parameters
        ), hook


def test_a_progress_is_a_clock():
    progress = Progress(step=3, steps=12, images=96)
    figures = [name for name, value in vars(Clock).items() if isinstance(value, property)]
    assert {name: getattr(progress, name) for name in figures} == {"step": 3, "steps": 12, "images": 96}
    assert progress.fraction == 0.25
