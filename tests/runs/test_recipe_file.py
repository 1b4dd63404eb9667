"""Files of recipes: overrides, includes, differences, and files that are none."""

import copy
from pathlib import Path

import pytest
import yaml

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.recipe import build, load
from fastdiff.runs.recipe_file import differences, override, parse
from tests.helpers.recipes import PLAIN, changed, dump, without, written

# ---- overrides


@pytest.mark.parametrize(
    "assignment, keys, value",
    [
        ("train.lr=3e-4", ("train", "lr"), 3e-4),
        ("train.lr=1e-4", ("train", "lr"), 1e-4),
        ("train.lr=-2.5E+3", ("train", "lr"), -2500.0),
        ("bench.steps=[1, 4]", ("bench", "steps"), [1, 4]),
        ("bench.extractor=null", ("bench", "extractor"), None),
        ("data={name: toy, n: 5}", ("data",), {"name": "toy", "n": 5}),
        (
            "stages.consistency.method.halvings=3",
            ("stages", "consistency", "method"),
            {"name": "ect", "halvings": 3},
        ),
        ("stages.teacher.train.flip=true", ("stages", "teacher", "train", "flip"), True),
        ("stages.consistency.train.steps=9", ("stages", "consistency", "train"), {"steps": 9}),
        ("bench.extractor=a=b", ("bench", "extractor"), "a=b"),
    ],
)
def test_overrides(assignment, keys, value):
    found = changed(assignment)
    for key in keys:
        found = found[key]
    assert found == value and type(found) is type(value)


def test_an_override_fills_an_empty_section(tmp_path):
    text = dump(without("train")) + "train:\n"
    recipe = load(written(tmp_path, text), ["train.lr=1e-4", "train.steps=1e1"])
    assert (recipe.stages[0].train.lr, recipe.stages[3].train.steps) == (1e-4, 10)


def test_1e_4_is_a_number_in_the_file_too(tmp_path):
    text = dump(changed("train.lr=1234")).replace("1234", "1e-4")
    recipe = load(written(tmp_path, text))
    assert recipe.source["train"]["lr"] == recipe.stages[0].train.lr == 1e-4
    assert not differences(recipe.source, load(written(tmp_path, text.replace("1e-4", "0.0001"))).source)


@pytest.mark.parametrize(
    "assignment",
    [
        "train.lr",
        "=3",
        "train..lr=3",
        ".lr=3",
        "train.=3",
        "train.lr=[1",
        "train.lr.x=3",
        "bench.steps.0=3",
        "train.lr=2024-99-99",
    ],
)
def test_bad_overrides(assignment):
    with pytest.raises(FastdiffError) as caught:
        override(copy.deepcopy(PLAIN), assignment)
    assert repr(assignment) in str(caught.value) and "\n" not in str(caught.value)


# ---- files


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path, written(tmp_path, "x") / "under"):
        with pytest.raises(FastdiffError, match=f"^recipe {path}: (cannot be read|no such file)"):
            load(path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FastdiffError, match="cannot be read"):
        load(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("name: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("\tx: 1", "not valid YAML"),
        ("x: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("", "expected name, data, model and stages"),
        ("- 1", "expected name, data, model and stages"),
        ("1: 2", ""),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(FastdiffError) as caught:
        load(path)
    assert str(caught.value).startswith(f"recipe {path}: {message}") and "\n" not in str(caught.value)


def test_complaints_name_the_file(tmp_path):
    path = written(tmp_path, dump(PLAIN))
    with pytest.raises(FastdiffError) as caught:
        load(path, ["train.stpes=3"])
    assert str(caught.value) == f"recipe {path}: train.stpes is unknown, did you mean steps?"


# ---- differences


def test_differences():
    assert differences(PLAIN, copy.deepcopy(PLAIN)) == []
    assert differences({}, {"train": {}}) == [] and differences({"train": {"keep_last": 1}}, {}) == [
        ("train.keep_last", 1, None)
    ]
    assert differences(PLAIN, changed("train.lr=2")) == [("train.lr", 0.001, 2)]
    assert differences(PLAIN, changed("train.ema=0.5")) == [("train.ema", None, 0.5)]
    assert differences(changed("train.ema=0.5"), PLAIN) == [("train.ema", 0.5, None)]
    assert differences(PLAIN, changed("stages.progressive.method.steps=[4]", "name=other")) == [
        ("name", "plain", "other"),
        ("stages.progressive.method.steps", [4, 2], [4]),
    ]
    assert differences(PLAIN, changed("stages.consistency.method.start=1")) == [
        ("stages.consistency.method", "ect", {"name": "ect", "start": 1})
    ]


# ---- include


def files(folder, **recipes) -> Path:
    """Recipes as files, of which the first one's path is told."""
    for name, source in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(source, sort_keys=False))
    return folder / f"{next(iter(recipes))}.yaml"


def test_included_stages_are_those_of_their_own_recipes(tmp_path):
    (tmp_path / "parts").mkdir()
    files(tmp_path / "parts", one=PLAIN, two=PLAIN | {"stages": {"other": {"method": "ect"}}})
    path = files(
        tmp_path,
        all={
            "name": "all",
            "include": ["parts/one.yaml", "parts/two.yaml"],
            "stages": {"mine": {"method": "cd", "teacher": "teacher"}},
        },
    )
    found, one = load(path), load(tmp_path / "parts" / "one.yaml")
    assert [stage.name for stage in found.stages] == [*(stage.name for stage in one.stages), "other", "mine"]
    assert found.stages[: len(one.stages)] == one.stages and found.model == one.model
    assert build(found.source).stages == found.stages  # what a run's directory keeps says the same by itself
    assert load(path, ["stages.teacher.train.steps=3"]).stages[0].train.steps == 3


def test_one_stage_may_come_in_by_two_recipes(tmp_path):
    path = files(tmp_path, all={"name": "all", "include": ["one.yaml", "two.yaml"]}, one=PLAIN, two=PLAIN)
    assert load(path).stages == build(PLAIN).stages


@pytest.mark.parametrize(
    ("all_", "one", "message"),
    [
        ({"include": ["one.yaml"], "data": {"name": "digits"}}, PLAIN, "one.yaml has data.name = toy"),
        ({"include": ["one.yaml"], "train": {"batch": 8}}, PLAIN, "one.yaml has train.batch = 16"),
        (
            {"include": ["one.yaml"], "stages": {"teacher": {"method": "ect"}}},
            PLAIN,
            "one.yaml has a stage teacher",
        ),
        ({"include": ["one.yaml"]}, PLAIN | {"stages": [1]}, "one.yaml: expected stages"),
        ({"include": "one.yaml"}, PLAIN, "include: expected a list"),
        ({"include": ["all.yaml"]}, PLAIN, "it includes itself"),
        ({"include": ["none.yaml"]}, PLAIN, "none.yaml: cannot be read"),
        ({"include": ["a\0.yaml"]}, PLAIN, "cannot be read"),
        ({"include": ["one.yaml"]}, PLAIN | {"trian": {"steps": 9}}, "trian is unknown, did you mean train"),
        ({"include": ["one.yaml"], "train": {3: 1}}, PLAIN, "one.yaml has train.3 = None"),
    ],
)
def test_includes_that_do_not_fit(tmp_path, all_, one, message):
    path = files(tmp_path, all={"name": "all", **all_}, one=one)
    with pytest.raises(FastdiffError, match=message):
        load(path)


def test_aliases_are_copies(tmp_path):
    text = (
        "name: two\ndata: toy\nmodel: {net: mlp}\nstages:\n  one: {method: denoising, train: &t {steps: 5}}\n"
        "  two: {method: denoising, train: *t}\n"
    )
    (tmp_path / "two.yaml").write_text(text)
    assert [
        stage.train.steps for stage in load(tmp_path / "two.yaml", ["stages.one.train.steps=7"]).stages
    ] == [7, 5]
    (tmp_path / "two.yaml").write_text("model: &m {x: *m}\n")
    with pytest.raises(FastdiffError, match="an anchor contains itself"):
        load(tmp_path / "two.yaml")


# ---- keys that are given twice, and numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "a is given twice, in lines 1 and 3: expected each key once"),
        ("stages:\n  t: {x: 1}\n  u: {x: 1}\n  t: {x: 2}\n", "t is given twice, in lines 2 and 4"),
        ("a: [{b: {c: 1, d: 2,\n c: 3}}]\n", "c is given twice, in lines 1 and 2"),
        ("1: a\n0x1: b\n", "0x1 is given twice"),
        ("{a: 1, 'a': 2}", "a is given twice, in lines 1 and 1"),
        ("x: &x {b: 1}\ny: {<<: *x, <<: *x}", "<< is given twice"),
    ],
)
def test_a_key_given_twice_is_refused(text, words):
    with pytest.raises(FastdiffError, match=f"^some: {words}"):
        parse(text, "some")
    assert parse("x: &x {b: 1}\ny: {<<: *x, b: 2}\nz: [*x, *x]", "some")["y"] == {"b": 2}


def test_a_key_given_twice_is_refused_in_includes_and_overrides(tmp_path):
    (tmp_path / "other.yaml").write_text(dump(PLAIN) + "name: again\n")
    with pytest.raises(FastdiffError, match=r"other.yaml: name is given twice"):
        load(written(tmp_path, "name: x\ninclude: [other.yaml]\nstages: {}\n"))
    with pytest.raises(FastdiffError, match="n is given twice"):
        changed("data={name: toy, n: 5, n: 6}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-007", -7),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("1.5e3", 1500.0),
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("1.2.3", "1.2.3"),
        ("-.", "-."),
        ("e5", "e5"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text, value):
    found = parse(text, "some")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("train.steps=true", "train.steps: expected a number, got True"),
        ("train.lr=false", "train.lr: expected a number, got False"),
        ("bench.steps=[true]", "bench.steps: expected a number, got"),
        ("data.n=true", "data.n: expected a number, got True"),
    ],
)
def test_true_is_no_number(assignment, line):
    with pytest.raises(FastdiffError, match=line):
        build(changed(assignment))


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "No", "OFF", "y", "n"])
def test_words_are_those_of_yaml_1_2(word):
    assert parse(f"{word}: {word}", "some") == {word: word}
    assert parse("[true, False, TRUE]", "some") == [True, False, True]


def test_words_are_understood_where_a_word_or_a_switch_is_meant():
    for word in ("no", "fp32", "float32", "false"):
        assert build(changed(f"train.precision={word}")).stages[0].train.precision == "no"
    for word, value in (("on", True), ("yes", True), ("off", False), ("no", False)):
        assert build(changed(f"train.flip={word}")).stages[0].train.flip is value
        assert differences({"flip": value}, {"flip": word}) == []  # as earlier versions wrote it into a run
    with pytest.raises(FastdiffError, match="lr_schedule: expected constant, linear or cosine, got 'off'$"):
        build(changed("train.lr_schedule=off"))
