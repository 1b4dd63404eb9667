"""Shipped recipes and models: found from any working directory, after what the directory itself has."""

from fastdiff.core import shipped as module
from fastdiff.core.shipped import shipped, shipped_recipes


def test_the_source_tree_has_recipes_and_the_models_that_they_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = shipped_recipes()
    assert {"toy", "digits", "methods/ect"} <= recipes.keys()
    assert shipped("checkpoints/digits/features/model.safetensors").is_file()
    assert shipped("checkpoints/nosuch") is None and shipped("user/model") is None


def test_what_the_working_directory_has_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "checkpoints/digits/features"
    own.mkdir(parents=True)
    assert shipped("checkpoints/digits/features").absolute() == own


def test_an_installed_package_has_them_inside(tmp_path, monkeypatch):
    package = tmp_path / "site/fastdiff"
    (package / "recipes/methods").mkdir(parents=True)
    (package / "recipes/methods/mine.yaml").write_text("name: mine\n")
    monkeypatch.setattr(module, "PLACES", (package.parent, package))
    monkeypatch.chdir(tmp_path)
    assert shipped_recipes() == {"methods/mine": package / "recipes/methods/mine.yaml"}
    assert shipped("recipes/methods/mine.yaml") == package / "recipes/methods/mine.yaml"
