"""What `fastdiff list` lists: every name, and of every setting its meaning."""

import pytest

from fastdiff.cli.catalogue import (
    REGISTRIES,
    SECTIONS,
    TITLES,
    Listed,
    entry,
    kind_of,
    lines,
    registry,
    section,
)
from fastdiff.core.errors import FastdiffError
from fastdiff.methods import METHODS
from tests.helpers.paths import ROOT


def test_every_kind_has_a_title():
    assert set(TITLES) == set(Listed)
    assert {*SECTIONS, *REGISTRIES} == set(Listed) - {Listed.recipes, Listed.models}


@pytest.mark.parametrize("kind", [*SECTIONS, *REGISTRIES])
def test_every_setting_has_a_meaning_and_every_entry_a_line(kind):
    if kind in SECTIONS:
        bare = [one.name for one in section(kind).settings if not one.meaning]
    else:
        assert all(lines(kind).values())
        bare = [
            (name, one.name)
            for name in registry(kind)
            for one in entry(kind, name).settings
            if not one.meaning
        ]
    assert bare == []


def test_a_method_in_full(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the recipes are found beside the package, too
    found = entry(Listed.methods, "ect")
    assert found.facts["paper"] == "Geng et al. 2024" and found.facts["needs"] == "images"
    assert found.facts["defaults of train"] == "optimizer: radam, lr_schedule: cosine"
    assert found.facts["recipe"] == "recipes/methods/ect.yaml"
    assert {one.name: one.default for one in found.settings}["halvings"] == "7"
    assert entry(Listed.methods, "kd").facts["needs"] == "pairs"
    assert entry(Listed.methods, "sid").facts["needs"] == "teacher"
    assert entry(Listed.methods, "consistency").summary == "another name of ect"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_recipe(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = entry(Listed.methods, name).facts.get("recipe", "")
    assert (ROOT / path).is_file() or METHODS[name] in (METHODS["ect"], METHODS["sct"])


def test_one_setting_of_a_section_with_those_inside_of_it():
    assert [one.name for one in entry(Listed.train, "lora").settings] == [
        "lora",
        "lora.rank",
        "lora.alpha",
        "lora.targets",
    ]


@pytest.mark.parametrize(
    "kind, name, nearest",
    [("methods", "meanflw", "meanflow"), ("train", "stpes", "steps"), ("networks", "unett", "unet")],
)
def test_an_unknown_name_has_its_nearest(kind, name, nearest):
    with pytest.raises(FastdiffError, match=f"list {kind} {name}: unknown, did you mean {nearest}?"):
        entry(Listed(kind), name)


def test_an_unknown_kind_has_its_nearest():
    with pytest.raises(FastdiffError, match="list methosd: unknown, did you mean methods?"):
        kind_of("methosd")
