"""Registered names are found in any case."""

import pytest

import fastdiff
from fastdiff.core.registry import Registry, known_name
from fastdiff.evaluation.config import BenchConfig
from fastdiff.runs.recipe import build
from tests.helpers.recipes import changed


@pytest.mark.parametrize(
    "name, found",
    [
        ("ddim", "ddim"),
        ("DDIM", "ddim"),
        ("DPMpp-2M", "dpmpp_2m"),
        ("DDIM[eta=0.5]", "ddim[eta=0.5]"),
        ("nosuch", "nosuch"),
        ("0.9,0.5", "0.9,0.5"),
    ],
)
def test_a_name_in_another_case(name, found):
    assert known_name(name, fastdiff.SAMPLERS) == found


def test_entries_in_any_case():
    assert fastdiff.SAMPLERS["DDIM"] is fastdiff.SAMPLERS["ddim"]
    assert fastdiff.METHODS["F-Distill"] is fastdiff.METHODS["f_distill"]
    assert fastdiff.SCHEDULES["Cosine"]().t_max == 1
    assert "DDIM" not in fastdiff.SAMPLERS  # so that a name is recorded in one case only
    with pytest.raises(KeyError, match="did you mean 'dd"):
        fastdiff.SAMPLERS["ddm"]


def test_names_that_differ_only_in_case_stay_apart():
    registry = Registry({"Own": 1, "own": 2})
    assert (registry["Own"], registry["own"]) == (1, 2)
    with pytest.raises(KeyError):
        registry["OWN"]


def test_a_recipe_and_a_benchmark_record_the_registered_name():
    recipe = build(changed("stages.consistency.method=ECT", "model.schedule=Cosine", "model.net=MLP"))
    assert [stage.method_name for stage in recipe.stages if stage.name == "consistency"] == ["ect"]
    config = BenchConfig(samplers=("Heun",), spacings=("Karras[rho=5]",), baselines=("DDIM:4",))
    assert config.ways[0][:2] == ("heun", "karras[rho=5]")
