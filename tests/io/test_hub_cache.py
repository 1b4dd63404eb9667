"""The hub's cache: ids are folders of it, and a run keeps to the commits that it began with."""

import json
import shutil

import pytest
import torch
import yaml

import fastdiff as package
from fastdiff.io.export.model import export
from tests.helpers.damage import RECIPE, WEIGHTS, Bomb

pytestmark = pytest.mark.usefixtures("little_memory")


OLD, NEW = "a" * 40, "b" * 40


def snapshot(hub_cache, source, commit, name="user--model"):
    """A commit of a model in the hub's cache, as the newest."""
    repository = hub_cache / f"models--{name}"
    shutil.copytree(source, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs/main").write_text(commit)
    return repository / "snapshots" / commit


def scaled(model, factor):
    for p in model.parameters():
        p.mul_(factor)
    return model


def test_a_hub_id_is_a_folder_of_the_cache(trained, hub_cache):
    snapshot(hub_cache, trained, OLD)
    old = package.load("user/model")
    export(scaled(package.load(trained), 2), snapshot(hub_cache, trained, NEW), {})
    weight = lambda name: next(package.load(name).parameters())  # noqa: E731
    assert torch.equal(weight("user/model"), 2 * next(old.parameters()))
    assert torch.equal(weight(f"user/model@{OLD}"), next(old.parameters()))
    assert torch.equal(weight("user/model@main"), weight(f"user/model@{NEW}"))


@pytest.mark.parametrize("name", ["user/nosuch", "user/model@nosuch", f"user/model@{'c' * 40}"])
def test_what_the_cache_lacks_is_one_line(trained, hub_cache, name, refused):
    snapshot(hub_cache, trained, OLD)
    assert (
        f"{name}: " in (said := refused("sample", name))
        and "from the Hub: " in said
        or "on the Hub: " in said
    )
    assert "no such folder" in refused("sample", f"models/{name}") and "no such folder" in refused(
        "sample", f"./{name}"
    )


def test_pickled_weights_of_the_hub_are_refused(trained, hub_cache, refused, tmp_path):
    folder = snapshot(hub_cache, trained, OLD)
    (folder / WEIGHTS).unlink()
    torch.save({"weight": Bomb(tmp_path / "marker")}, folder / "unet/diffusion_pytorch_model.bin")
    assert "diffusion_pytorch_model.bin is pickled, which could run code" in refused("sample", "user/model")
    assert not (tmp_path / "marker").exists()


def test_a_run_keeps_to_the_commits_that_it_began_with(trained, hub_cache, tmp_path):
    """A copy of the hub moves on between two stages of a run: it goes on with what it began with;
    a new run does not."""
    from fastdiff.runs import recipe as recipes

    stage = {"method": {"name": "progressive", "steps": 2}, "teacher": "user/model"}
    source = RECIPE | {
        "data": {"name": "digits"},
        "model": {"net": {"name": "unet", "channels": [8], "layers": 1}},
        "stages": {"one": stage, "two": stage},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(source))
    first = package.load(snapshot(hub_cache, trained, OLD))

    def run(stage, out):
        package.run(recipes.load(tmp_path / "recipe.yaml"), tmp_path / out, only=stage)
        return json.loads((tmp_path / out / stage / "fastdiff.json").read_text())["origin"]

    assert run("one", "run")["teacher"] == f"user/model@{OLD}" == run("one", "run")["init"]
    assert json.loads((tmp_path / "run/pins.json").read_text()) == {"user/model": OLD}
    export(scaled(first, 2), snapshot(hub_cache, trained, NEW), {})
    assert run("two", "run")["teacher"] == f"user/model@{OLD}"
    assert run("one", "run")["teacher"] == f"user/model@{OLD}"  # not stale: nothing is trained again
    assert json.loads((tmp_path / "run/pins.json").read_text()) == {"user/model": OLD}
    assert run("one", "another")["teacher"] == f"user/model@{NEW}"
