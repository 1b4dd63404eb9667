"""The commits of the hub that a run keeps to."""

import json

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.hub_pins import hub_models, is_commit, read_pins
from fastdiff.runs.recipe import build
from tests.helpers.damage import RECIPE
from tests.helpers.recipes import changed

OLD, NEW = "a" * 40, "b" * 40


def test_data_of_the_hub_are_pinned_too(hub_cache, tmp_path):
    from fastdiff.runs.hub_pins import pin
    from fastdiff.runs.recipe import build

    refs = hub_cache / "datasets--user--data/refs"
    refs.mkdir(parents=True)
    (hub_cache / f"datasets--user--data/snapshots/{OLD}").mkdir(parents=True)
    (refs / "main").write_text(OLD)
    for data in ("user/data", {"name": "hub", "path": "user/data"}):
        pinned, pins = pin(build(RECIPE | {"data": data}), tmp_path / "run")
        assert (
            pins == {"datasets/user/data": OLD} and pinned.revision == OLD and pinned.source["data"] == data
        )
    (tmp_path / "run").mkdir()
    (tmp_path / "run/pins.json").write_text(json.dumps({"datasets/user/data": NEW}))
    assert pin(build(RECIPE | {"data": "user/data"}), tmp_path / "run")[0].revision == NEW
    with pytest.raises(FastdiffError, match="user/data"):
        pinned.dataset()  # asked for, and not prepared here
    assert pin(build(RECIPE), tmp_path / "other")[1] == {}


def test_models_of_the_hub_are_those_that_are_no_paths_and_no_stages():
    recipe = build(changed("stages.progressive.teacher=user/model", "stages.consistency.init=./user/model"))
    assert hub_models(recipe) == {"user/model"}


@pytest.mark.parametrize("text", ["[]", '{"user/model": "main"}', '{"user/model": 3}', "{"])
def test_damaged_pins_are_named(tmp_path, text):
    path = tmp_path / "pins.json"
    assert read_pins(path) == {}
    path.write_text(text)
    with pytest.raises(FastdiffError, match=r"pins.json is damaged \(.*\): repair it, or delete it"):
        read_pins(path)
    path.write_text(json.dumps({"user/model": OLD}))
    assert read_pins(path) == {"user/model": OLD}


def test_a_commit_has_forty_hex_digits():
    assert is_commit(OLD) and not any(map(is_commit, (OLD[1:], OLD + "a", "g" * 40, None)))
