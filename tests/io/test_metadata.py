"""fastdiff.json: what it may say of a model, and damage in one line."""

import json
import time

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.io.metadata import parse_metadata, read_metadata, working_schedule
from tests.helpers.damage import change

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.mark.parametrize("network", ["../../other", "/etc", "unet/../../x", ["unet"], {}, 7, None, "gan"])
def test_networks_are_those_that_are_known(model, network, refused):
    change(model / "fastdiff.json", network=network)
    expected = "unet, mlp, text_unet" if isinstance(network, str) else "a text"
    assert f"fastdiff.json is damaged (network: expected {expected}" in refused("sample", model)


def test_a_network_of_fastdiff_is_not_built_as_a_plugins(model, refused):
    change(model / "fastdiff.json", network="dit-xl/2", built_with={"classes": 10})
    (model / "unet").rename(model / "network")
    assert "network dit-xl/2 is not a plugin's: copy it again" in refused("sample", model)


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"shape": [3, 100_000, 100_000]}, "shape"),
        ({"shape": [100_000, 100_000, 3]}, "shape"),
        ({"shape": [1, -8, 8]}, "shape"),
        ({"shape": [10**400]}, "shape"),
        ({"shape": []}, "shape"),
        ({"shape": "888"}, "shape"),
        ({"shape": None}, "shape"),
        ({"shape": [3, 8, 8]}, "cannot produce samples of shape"),
        ({"shape": [1]}, "cannot produce samples of shape"),
        ({"sigma_data": float("nan")}, "sigma_data"),
        ({"sigma_data": -1}, "sigma_data"),
        ({"sigma_data": 1e999}, "sigma_data"),
        ({"schedule": {"name": "ddpm", "t_max": 1e12}}, "t_max"),
        ({"schedule": {"name": "vp", "t_max": -1}}, "t_max"),
        ({"schedule": {"name": "cosine", "t_max": float("nan")}}, "t_max"),
        ({"schedule": {"name": "no"}}, "needs schedule no, which no plugin has registered"),
        ({"schedule": {"name": "sigmoid", "tau": 0}}, "schedule"),
        ({"schedule": {"name": "sigmoid", "start": -1e9}}, "schedule"),
        ({"schedule": {"name": "sigmoid", "end": -3}}, "schedule"),
        ({"schedule": {"name": "cosine", "beta": 1}}, "schedule.beta is unknown"),
        ({"schedule": [1]}, "schedule"),
        ({"schedule": {"name": "ddpm", "betas": [2.0], "t_max": 1}}, "betas"),
        ({"predicts": "x"}, "predicts"),
        ({"predicts": ["v"]}, "predicts"),
        ({"time_input": {}}, "time_input"),
        ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [10**12]}}, "sampling.steps"),
        ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [0]}}, "sampling.steps"),
        ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": []}}, "sampling.steps"),
        (
            {"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "times": [[float("inf")]]}},
            "sampling.times",
        ),
        (
            {"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "hook": "x"}},
            "sampling.hook is unknown",
        ),
        (
            {"sampling": {"sampler": "no", "spacing": "uniform", "steps": [1]}},
            "this model needs sampler no, which no plugin has registered; pass --plugin FILE",
        ),
        (
            {"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "times": [[1e300]]}},
            "expected decreasing times",
        ),
        ({"sampling": 7}, "sampling"),
        ({"guidance": {"weights": [1]}}, "guidance"),
        ({"guidance": 3}, "guidance"),
        ({"weights": 7}, "weights"),
        ({"weights": "../../x"}, "weights"),
        ({"weights": "0" * 64}, "wrong checksum"),
        ({"cost": [1]}, "cost"),
        ({"ema": "x"}, "ema"),
        ({"method": {"a": 1}}, "method"),
        ({"params": "many"}, "params"),
    ],
)
def test_what_fastdiff_json_may_say(model, keys, said, refused):
    change(model / "fastdiff.json", **keys)
    start = time.process_time()
    assert said in refused("sample", model)
    assert time.process_time() - start < 5


def test_a_schedule_is_read_with_its_options_and_works():
    assert working_schedule({"name": "flow", "shift": 3.0}) == Flow(shift=3.0)
    with pytest.raises(FastdiffError, match="^schedule: schedule sigmoid: start = .* expected -100 <= start"):
        working_schedule({"name": "sigmoid", "start": -1e9})


def test_what_is_read_later_has_a_type_and_the_rest_is_kept(model):
    change(model / "fastdiff.json", novelty=[1, 2], cost={"images": 64, "energy": "low"})
    notes = read_metadata(model)
    typed = parse_metadata(notes)
    assert notes["novelty"] == [1, 2] and typed.cost.images == 64 and typed.guidance is None
    assert typed.recorded_sampling().steps == tuple(notes["sampling"]["steps"])


def test_no_file_is_none_and_a_damaged_one_is_named(tmp_path):
    assert read_metadata(tmp_path) is None and read_metadata(tmp_path / "nowhere") is None
    for text, reason in (("[1]", "expected an object, got list"), ("{}", "network"), ("{", "")):
        (tmp_path / "fastdiff.json").write_text(text)
        with pytest.raises(FastdiffError, match=rf"fastdiff.json is damaged \(.*{reason}.*\): copy it again"):
            read_metadata(tmp_path)
    (tmp_path / "fastdiff.json").write_text(json.dumps({"network": "unet", "schedule": "linear"}))
    line = f"^{tmp_path} needs schedule linear, which no plugin has registered; pass --plugin FILE$"
    with pytest.raises(FastdiffError, match=line):
        read_metadata(tmp_path)
    notes = {"network": "mine", "built_with": {}, "plugins": {"my_net.py": "0" * 64}}
    (tmp_path / "fastdiff.json").write_text(json.dumps(notes))
    line = r"needs network mine, .*; pass --plugin FILE \(it was trained with my_net.py\)$"
    with pytest.raises(FastdiffError, match=line):
        read_metadata(tmp_path)
