"""Recipes that strangers send run no code and do not grow."""

import time

import pytest
import yaml

from tests.helpers.damage import DEEP, RECIPE

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


CODE = {
    "os.system": "!!python/object/apply:os.system ['mkdir {marker}']",
    "subprocess": "!!python/object/apply:subprocess.check_call [[mkdir, '{marker}']]",
    "eval": '!!python/object/new:eval [\'__import__("os").mkdir("{marker}")\']',
    "name": "!!python/name:os.system",
}


@pytest.mark.parametrize("code", list(CODE))
@pytest.mark.parametrize("place", ["recipe", "override", "include", "the run's recipe"])
def test_a_recipe_runs_no_code(code, place, recipe, refused, tmp_path):
    text, words, marker = (
        CODE[code].format(marker=tmp_path / "marker"),
        ["run", recipe, "--out", tmp_path / "out"],
        "recipe",
    )
    if place == "override":
        words.append(f"train.steps={text}")
        marker = "override"
    elif place == "include":
        (tmp_path / "other.yaml").write_text(f"name: {text}\n")
        recipe.write_text(recipe.read_text() + "include: [other.yaml]\n")
    elif place == "the run's recipe":
        (tmp_path / "out").mkdir()
        (tmp_path / "out/recipe.yaml").write_text(f"name: {text}\n")
    else:
        recipe.write_text(f"name: {text}\n")
    said = refused(*words)
    assert marker in said and "not valid YAML (could not determine a constructor for the tag" in said
    assert not (tmp_path / "marker").exists()


BILLION = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 10)}]}}\n"
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text, said",
    [
        (DEEP, "nested too deep"),
        ("{a: " * 100_000, "nested too deep"),
        ("- " * 100_000, "nested too deep"),
        ("a: &a [*a]", "an anchor contains itself"),
        ("&a {a: *a}", "an anchor contains itself"),
        (BILLION, "its aliases expand to"),
        (MERGED, "its aliases expand to"),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("place", ["recipe", "override", "include"])
def test_yaml_that_grows(text, said, place, recipe, refused, tmp_path):
    words = ["run", recipe, "--out", tmp_path / "out"]
    if place == "override":
        words.append(f"train.steps={text}")
    elif place == "include":
        (tmp_path / "other.yaml").write_text(text)
        recipe.write_text(recipe.read_text() + "include: [other.yaml]\n")
    else:
        recipe.write_text(text)
    start = time.process_time()
    assert said in refused(*words)
    assert time.process_time() - start < 10


def test_an_override_of_100_000_keys(recipe, refused, tmp_path):
    assert "expected at most" in refused(
        "run", recipe, "bench.n" + ".a" * 100_000 + "=1", "--out", tmp_path / "out"
    )
