"""The list command."""

import json

import pytest

from fastdiff.cli import listing
from fastdiff.cli.catalogue import SECTIONS, Listed
from fastdiff.core.shipped import shipped_recipes
from fastdiff.methods import METHODS
from fastdiff.samplers import SAMPLERS
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("what", [kind for kind in Listed if kind not in SECTIONS])
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
        "data": ["digits", "toy", "hub"],
        "recipes": ["recipes/toy.yaml", "recipes/methods/ect.yaml"],
        "models": ["checkpoints/tiny/teacher"],
    }.get(what, [])
    assert set(some) <= set(listed) and (what not in ("samplers", "methods") or list(some) == list(listed))


def test_everything_in_one_list(fastdiff, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = fastdiff("list")
    assert (code, err) == (0, "")
    heads = [line.partition(":")[0] for line in out.splitlines() if line and line[0] != " "]
    assert heads[:-1] == list(Listed)
    assert "  ect " in out and "  lora.rank " in out and "  none\n" in out  # no models here
    assert list(json.loads(fastdiff("list", "--json")[1])) == list(Listed)


def test_one_entry_in_full(fastdiff):
    code, out, err = fastdiff("list", "methods", "ect")
    assert (code, err) == (0, "")
    assert (
        "  paper: Geng et al. 2024\n" in out
        and "\nstart: 0.5\n    float (above 0, at most 1)\n    init" in out
    )
    found = json.loads(fastdiff("list", "methods", "ect", "--json")[1])
    assert found["paper"] == "Geng et al. 2024" and found["settings"][1]["default"] == "0.5"
    assert "\nsteps: 1000\n" in fastdiff("list", "train")[1]
    assert fastdiff("list", "train", "lr")[1].startswith("train.lr\n\nlr: 0.001\n    float (at least 0")


def test_the_former_name_of_data(fastdiff):
    assert fastdiff("list", "datasets") == fastdiff("list", "data")


def test_typing_errors_are_one_line(refused):
    assert "list methosd: unknown, did you mean methods?" in refused("list", "methosd")
    assert "list methods meanflw: unknown, did you mean meanflow?" in refused("list", "methods", "meanflw")


def test_a_terminal_folds_or_cuts_long_lines(monkeypatch, capsys):
    monkeypatch.setattr(listing, "columns", lambda: 30)
    listing.show_lines({"a": "one two three four five six seven eight"})
    listing.show_lines({"a": "one two three four five six seven eight"}, crop=True)
    *folded, cut = capsys.readouterr().out.splitlines()
    assert max(map(len, folded)) <= 30 and folded[1].startswith("   ") and len(folded) == 2
    assert len(cut) == 30 and cut.endswith("...")


def test_a_damaged_model_is_listed_so(fastdiff, monkeypatch, tmp_path):
    (tmp_path / "checkpoints/run/stage").mkdir(parents=True)
    (tmp_path / "checkpoints/run/stage/fastdiff.json").write_text('{"method": "e')
    monkeypatch.chdir(tmp_path)
    assert json.loads(fastdiff("list", "models", "--json")[1]) == {"checkpoints/run/stage": "damaged"}


def test_lists_of_nothing(fastdiff, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert json.loads(fastdiff("list", "models", "--json")[1]) == {}
    assert fastdiff("list", "models") == (0, "", f"no models in {tmp_path.resolve() / 'checkpoints'}\n")


def test_where_there_are_no_recipes_the_shipped_ones_are_listed_by_name(fastdiff, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    listed = json.loads(fastdiff("list", "recipes", "--json")[1])
    assert listed.keys() == shipped_recipes().keys() and {"toy", "methods/ect"} <= listed.keys()


def test_a_recipe_is_listed_by_its_first_sentence(fastdiff, monkeypatch, tmp_path):
    (tmp_path / "recipes").mkdir()
    header = "# Shapes of 1.5 pixels, in two\n# lines. recipes/x.py draws them.\n#   fastdiff run x\n"
    (tmp_path / "recipes/x.yaml").write_text(f"{header}# Cost: none.\nname: x\n")
    monkeypatch.chdir(tmp_path)
    listed = json.loads(fastdiff("list", "recipes", "--json")[1])
    assert listed == {"recipes/x.yaml": "Shapes of 1.5 pixels, in two lines."}
