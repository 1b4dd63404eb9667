"""What `fastdiff list` lists."""

import json

import pytest

from fastdiff.cli.listing import Listed
from fastdiff.methods import METHODS
from fastdiff.samplers import SAMPLERS
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("what", list(Listed))
def test_lists(what, fastdiff, monkeypatch, finished):
    monkeypatch.chdir(finished[1].parents[1] if what == "models" else ROOT)
    code, out, err = fastdiff("list", what)
    listed = {line.split()[0]: line.partition(" ")[2].strip() for line in out.splitlines()}
    assert (
        (code, err) == (0, "")
        and json.loads(fastdiff("list", what, "--json")[1]) == listed
        and all(listed.values())
    )
    some = {
        "samplers": SAMPLERS,
        "methods": METHODS,
        "schedules": ["ddpm", "karras"],
        "datasets": ["digits", "toy", "hub"],
        "recipes": ["recipes/toy.yaml"],
        "models": ["checkpoints/tiny/teacher"],
    }[what]
    assert set(some) <= set(listed) and (what not in ("samplers", "methods") or list(some) == list(listed))


def test_a_damaged_model_is_listed_so(fastdiff, monkeypatch, tmp_path):
    (tmp_path / "checkpoints/run/stage").mkdir(parents=True)
    (tmp_path / "checkpoints/run/stage/fastdiff.json").write_text('{"method": "e')
    monkeypatch.chdir(tmp_path)
    assert json.loads(fastdiff("list", "models", "--json")[1]) == {"checkpoints/run/stage": "damaged"}


def test_lists_of_nothing(fastdiff, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [json.loads(fastdiff("list", what, "--json")[1]) for what in ("recipes", "models")] == [{}, {}]
    for what, folder in (("recipes", "recipes"), ("models", "checkpoints")):
        assert fastdiff("list", what) == (0, "", f"no {what} in {tmp_path.resolve() / folder}\n")


def test_a_recipe_is_listed_by_its_first_sentence(fastdiff, monkeypatch, tmp_path):
    (tmp_path / "recipes").mkdir()
    header = "# Shapes of 1.5 pixels, in two\n# lines. recipes/x.py draws them.\n#   fastdiff run x\n"
    (tmp_path / "recipes/x.yaml").write_text(f"{header}# Cost: none.\nname: x\n")
    monkeypatch.chdir(tmp_path)
    listed = json.loads(fastdiff("list", "recipes", "--json")[1])
    assert listed == {"recipes/x.yaml": "Shapes of 1.5 pixels, in two lines."}
