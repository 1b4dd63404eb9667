"""Settings of a training: bounds in Python as in recipes, and settings of roles."""

import math

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.training.config import RoleConfig, TrainConfig, merge_train_config
from fastdiff.training.pairs import Pairs


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lr": -1.0}, "lr = -1.0: expected at least 0"),
        ({"lr": math.nan}, "lr = nan: expected at least 0"),
        ({"steps": 0}, "steps = 0: expected at least 1"),
        ({"ema": 1.0}, "ema = 1.0: expected less than 1"),
        ({"betas": (0.9, 1.0)}, "betas = 1.0: expected less than 1"),
        ({"batch": 10**7}, "batch = 10000000: expected at most 1,000,000"),
        ({"keep_last": 0}, "keep_last = 0: expected at least 1"),
    ],
)
def test_numbers_out_of_bounds_are_refused_by_name(setting, message):
    """In Python too, and in a recipe behind the path of its section."""
    with pytest.raises(FastdiffError) as caught:
        TrainConfig(**setting)
    assert str(caught.value) == message and caught.value.key == next(iter(setting))
    if not math.isnan(setting.get("lr", 0)):  # which recipes refuse as no number
        with pytest.raises(FastdiffError) as caught:
            merge_train_config({"lr": 0.1}, setting, path="stages.one.train")
        assert str(caught.value) == f"stages.one.train.{message}"


def test_a_role_s_numbers_are_held_to_the_same_bounds():
    with pytest.raises(
        FastdiffError, match=r"^train\.roles\.fake\.max_grad_norm = -1\.0: expected at least 0$"
    ):
        merge_train_config({"roles": {"fake": {"max_grad_norm": -1}}}, path="train")
    config = merge_train_config(
        {"roles": {"fake": {"lr": 1.0, "max_grad_norm": 2}}}, {"roles": {"fake": {"lr": 3}}}, path="train"
    )
    assert config.roles == {"fake": RoleConfig(lr=3.0, max_grad_norm=2.0)}
    assert (config.of("fake").lr, config.of("fake").max_grad_norm, config.of("student").lr) == (
        3.0,
        2.0,
        1e-3,
    )


@pytest.mark.parametrize("setting", [{"n": 0}, {"steps": 0}, {"seed": -1}, {"n": 10**9}])
def test_pairs_are_held_to_bounds(setting):
    with pytest.raises(FastdiffError, match=f"^{next(iter(setting))} = .*: expected at "):
        Pairs(**setting)
