"""The wheel: built, installed in an environment of its own, and used away from the source tree."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from fastdiff.core.shipped import shipped_recipes

ROOT = Path(__file__).parents[1]
BUILD = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
FORCED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]


def references(value):
    """The shipped paths in a recipe's plain data."""
    if isinstance(value, dict):
        return {path for inner in value.values() for path in references(inner)}
    if isinstance(value, list):
        return {path for inner in value for path in references(inner)}
    return {value} if isinstance(value, str) and value.startswith("checkpoints/") else set()


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_wheel_has_every_model_that_a_recipe_starts_from(name):
    source = yaml.safe_load(shipped_recipes()[name].read_text(encoding="utf-8"))
    assert references(source) <= FORCED["force-include"].keys()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs the wheel's own command away from the tree."""
    place = tmp_path_factory.mktemp("wheel")
    pytest.importorskip("hatchling")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(place)], cwd=ROOT, text=True, capture_output=True, check=True
    )
    environment = place / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    site = next(environment.glob("lib/python*/site-packages"))
    wheel = place / built.stdout.split()[-1]
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    # The dependencies are those of this environment, without fastdiff itself.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    work = place / "work"
    work.mkdir()

    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def python(*words):
        done = subprocess.run(
            [str(environment / "bin/python"), "-P", *words],
            cwd=work,
            env=variables | {"HF_HUB_OFFLINE": "1"},
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = python("-c", "import fastdiff; print(fastdiff.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    return lambda *words: python("-m", "fastdiff", *words), work


@pytest.mark.long
def test_an_installed_wheel_runs_recipes_by_name_and_judges_digits(installed):
    command, work = installed
    short = [
        f"stages.{name}.train.steps=4" for name in ("teacher", "progressive", "consistency", "distilled")
    ]
    printed = command("run", "toy", *short, "bench.n=100", "bench.baselines=[ddim:4]")
    assert "done. Open checkpoints/toy/report.html" in " ".join(printed.split())
    command("sample", "checkpoints/toy/consistency", "--n", "4", "--out", "points.png")
    assert (work / "points.png").stat().st_size > 500
    tiny = ["stages.ect.train.steps=2", "bench.n=32", "bench.steps=[1]", "bench.seeds=[0]"]
    printed = command("run", "methods/ect", *tiny)
    assert re.search(r"fd_digits", printed) and "1/1 ect" in printed
