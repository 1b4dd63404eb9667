"""The recipes for pipelines run on tiny ones, and diffusers alone opens and samples what they make."""

import numpy as np
import pytest
import torch
import yaml

import fastdiff
from fastdiff.io.formats import text_to_image
from fastdiff.runs import recipe as recipes
from tests.helpers import card_scripts
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.commands import picture
from tests.helpers.paths import ROOT

FOLDER = ROOT / "recipes/pipelines"
RECIPES = ("lcm", "lcm-lora", "dmd2", "progressive", "flow")
FEW = (
    *(
        "train.batch=4",
        "train.gradient_accumulation=1",
        "train.precision='no'",
        "train.teacher_dtype=float32",
    ),
    *("train.export_dtype=float32", "bench.n=4"),
)
SHORT = {
    "lcm": ["stages.lcm.train.steps=2"],
    "lcm-lora": ["stages.lcm-lora.train={steps: 2, lora: {rank: 2}}"],
    "dmd2": ["stages.dmd2.train.steps=6"],
    "progressive": ["stages.progressive.method.steps=[2, 1]", "stages.progressive.train.steps=2"],
    "flow": ["stages.pcm.train={steps: 2, lora: {rank: 2}}"],
}
LABELLED = ["data.captions=null"]  # for pipelines without prompts
UNGUIDED = {"dmd2": ["stages.dmd2.method.guidance=1"], "lcm": ["bench.guidance=[4]"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of 16 x 16 in three classes, the size of the tiny autoencoders' images."""
    folder = tmp_path_factory.mktemp("images")
    for kind in ("cat", "dog", "star"):
        for number in range(2):
            picture(folder / kind / f"{number}.png", 16)
    return folder


@pytest.fixture
def distilled(images, tmp_path, monkeypatch):
    """distilled("lcm", pipeline) -> the run's folder and the name of its last stage."""
    monkeypatch.setattr(text_to_image, "FLUX_SIDE", 8)
    monkeypatch.chdir(tmp_path)

    def run(name, pipeline, *overrides):
        torch.manual_seed(0)
        tiny.alive(pipeline).save_pretrained("pipeline")
        size = 8 if type(pipeline).__name__ == "DDIMPipeline" else 16
        words = ["teacher=pipeline", f"data.name={images}", f"data.resolution={size}"]
        if not hasattr(pipeline, "encode_prompt") and name != "progressive":
            words += LABELLED + UNGUIDED[name]
        recipe = recipes.load(FOLDER / f"{name}.yaml", [*words, *FEW, *SHORT[name], *overrides])
        for stage in recipe.stages:
            folder = fastdiff.run(recipe, "run", only=stage.name)
        return folder.absolute(), recipe.stages[-1].name

    return run


def dit():
    """A pipeline of the three classes of the images."""
    pipeline = tiny.dit()
    config = dict(pipeline.transformer.config) | {"num_embeds_ada_norm": 3}
    pipeline.register_modules(transformer=type(pipeline.transformer).from_config(config))
    return pipeline


PIPELINES = {
    "sd": tiny.stable_diffusion,
    "sdxl": tiny.sdxl,
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "dit": lambda at: dit(),
    "ddpm": lambda at: tiny.pixels(),
}
# The card's script draws by default guidance, at the first number of steps, with torch and diffusers only.
COMBINATIONS = [
    *(("lcm", kind) for kind in ("sd", "sdxl", "dit")),
    *(("lcm-lora", kind) for kind in ("sd", "sdxl", "sd3")),
    *(("dmd2", kind) for kind in ("sd", "sdxl", "sd3", "dit", "ddpm")),
    *(("progressive", kind) for kind in ("dit", "ddpm")),
    *(("flow", kind) for kind in ("sd3", "flux")),
]


def script_images(folder, monkeypatch):
    images = card_scripts.run(folder, monkeypatch)["images"]
    return images if isinstance(images, np.ndarray) else images.detach().numpy()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_needs_no_model_and_takes_another_teacher(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    made = recipes.load(FOLDER / f"{name}.yaml", ["teacher=mine"])
    assert made.model is None and "model" not in made.source
    assert made.stages[0].teacher == "./mine" and made.stages[0].train.steps >= 1000
    assert "/" in recipes.load(FOLDER / f"{name}.yaml").stages[0].teacher  # an id on the hub


def test_lcm_of_a_pipeline(distilled, monkeypatch, tmp_path):
    folder, stage = distilled("lcm", tiny.stable_diffusion(tmp_path / "tokens"), "stages.lcm.train.steps=1")
    assert "model" not in yaml.safe_load((folder / "recipe.yaml").read_text())
    assert "\nmodel:" not in (folder / stage / "README.md").read_text()
    student = fastdiff.load(folder / stage)
    assert student.guidance == (3, 15)
    images = fastdiff.sample(student, n=2, prompts="a cat")  # the default guidance is in its range
    assert images.shape == (2, 3, 16, 16) and fastdiff.sample(student, n=2).shape == images.shape
    assert torch.equal(images, fastdiff.sample(student, n=2, prompts="a cat", guidance=3))
    assert np.isfinite(script_images(folder / stage, monkeypatch)).all()


@pytest.mark.long
@pytest.mark.parametrize("name, kind", COMBINATIONS)
def test_a_student_is_sampled_by_diffusers_alone(name, kind, distilled, monkeypatch, tmp_path):
    folder, stage = distilled(name, PIPELINES[kind](tmp_path / "tokens"))
    drawn = script_images(folder / stage, monkeypatch)
    assert len(drawn) in (4, 16) and np.isfinite(drawn).all()
    if name in ("lcm-lora", "flow"):
        assert list((folder / stage / "lora").glob("*.safetensors"))
