"""Runs with a plugin: its network is trained, stored and loaded, or refused before the first step."""

import pytest
import yaml

import fastdiff
from fastdiff.core import plugins
from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import sha256
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import read_metadata
from fastdiff.networks import NETWORKS
from tests.helpers.commands import RECIPE
from tests.helpers.documents import Page


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The network that the page teaches to write, as a file; what it registers is forgotten."""
    [block] = [block for block in Page("fastdiff/methods/README.md").blocks("python") if "Residual" in block]
    (tmp_path / "my_net.py").write_text(block)
    monkeypatch.setattr(plugins, "_plugins", [])
    monkeypatch.setattr(plugins, "_hashes", {})
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setitem(NETWORKS, "residual", None)
    monkeypatch.delitem(NETWORKS, "residual")
    return tmp_path / "my_net.py"


@pytest.fixture
def source():
    stages = {"teacher": {"method": "denoising"}, "student": {"method": "ect", "teacher": "teacher"}}
    bench = RECIPE["bench"] | {"baselines": ["ddim:2"]}
    return RECIPE | {"model": {"net": {"name": "residual", "width": 8}}, "stages": stages, "bench": bench}


def test_an_own_network_is_trained_and_loaded_again(plugin, source, tmp_path):
    fastdiff.load_plugin(plugin)
    folder = fastdiff.run(fastdiff.recipe.build(source), tmp_path / "run")
    student = fastdiff.load(folder / "student")
    assert type(student.net).__name__ == "Residual" and fastdiff.sample(student, n=3).shape == (3, 2)
    hashes = {"my_net.py": sha256(plugin)}
    assert read_metadata(folder / "student")["plugins"] == hashes
    rows = read_rows(folder / "bench.jsonl")
    assert all(row["plugins"] == hashes for row in rows if row["cell"] != "real")
    del NETWORKS["residual"]
    line = r"student needs network residual, which .* --plugin FILE \(it was trained with my_net.py\)$"
    with pytest.raises(FastdiffError, match=line):
        fastdiff.load(folder / "student")


def test_a_network_that_cannot_be_stored_is_refused_before_the_first_step(source, tmp_path, monkeypatch):
    from torch import nn

    sizes = iter(range(1, 99))

    class Random(nn.Module):
        def __init__(self, shape, classes=0, width: int = 1):
            super().__init__()
            self.last = nn.Linear(next(sizes), 1)

    monkeypatch.setitem(NETWORKS, "residual", Random)
    with pytest.raises(FastdiffError, match="network residual cannot be stored: built again"):
        fastdiff.run(fastdiff.recipe.build(source), tmp_path / "run")
    assert not (tmp_path / "run/teacher").exists()


def test_a_recipe_alone_runs_no_code(plugin, source, tmp_path):
    for key in ("plugin", "plugins"):
        with pytest.raises(FastdiffError, match=f"^{key} is unknown"):
            fastdiff.recipe.build(source | {key: [str(plugin)]})
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(source))
    with pytest.raises(
        FastdiffError, match="'residual' is unknown, .*o plugin has registered it: pass --plugin FILE"
    ):
        fastdiff.recipe.load(tmp_path / "my.yaml")
