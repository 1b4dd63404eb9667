"""Cards: front matter that the hub reads, figures and recipe of the run, and names that cannot break them."""

import json
import re

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData, metadata_load

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.card import text
from fastdiff.io.export.model import export
from fastdiff.io.licences import limits, lineage
from fastdiff.io.load import load
from fastdiff.io.metadata import read_metadata
from fastdiff.networks import unet
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.cards import CARD, NONCOMMERCIAL, stated


def student(**options):
    torch.manual_seed(0)
    net = unet((1, 8, 8), channels=(8,), layers=1)
    return Denoiser(net, Cosine(), "v", (1, 8, 8), sampling=Sampling("ddim", "uniform", (2, 1)), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose teacher is a plain folder elsewhere, under a licence without commerce."""
    folder = tmp_path_factory.mktemp("run")
    export(student(), folder / "private/theirs", {})
    stated(folder / "private/theirs", NONCOMMERCIAL)
    source = {
        "name": "few",
        "data": "digits",
        "model": {"net": {"name": "unet", "channels": [8], "layers": 1}},
        "train": {"steps": 1, "batch": 4},
        "stages": {
            "own": {"method": "denoising"},
            "progressive": {
                "method": {"name": "progressive", "steps": [2, 1]},
                "teacher": str(folder / "private/theirs"),
            },
        },
        "bench": {
            "steps": [1],
            "baselines": [],
            "n": 80,
            "models": ["progressive-1"],
            "extractor": "checkpoints/digits/features",
        },
    }
    return stages.run(recipe.build(source), folder / "few")


def body(folder):
    return (folder / CARD).read_text()


def test_a_card_tells_what_the_model_is_and_how_it_fares(run):
    card = body(run / "progressive-1")
    assert "# few: progressive-1" in card
    assert (
        "Trained with the method progressive (teacher progressive-2, data digits), which took 4 images, "
        in card
    )
    assert "Default sampler: ddim, uniform grid, 1 step only." in card
    figures = card.partition("## Figures")[2].partition("## ")[0]
    assert (
        figures.count("| progressive-1 |") == 1 and "fd_digits" in figures and "extractor digits" in figures
    )
    assert "## Figures" not in body(run / "progressive-2")  # which was not measured
    [told] = re.findall(r"```yaml\n(.*?)```", card, re.S)
    source = yaml.safe_load((run / "recipe.yaml").read_text())
    source["stages"]["progressive"]["teacher"] = "theirs"  # and not where it lies
    assert yaml.safe_load(told) == source
    assert "hf upload USER/NAME FOLDER" in card


@pytest.mark.parametrize("name", ["own", "progressive-2", "progressive-1"])
def test_the_hub_reads_its_front_matter(run, name):
    front = metadata_load(run / name / CARD)
    data = ModelCardData(**front)
    assert (front["library_name"], front["pipeline_tag"]) == ("diffusers", "unconditional-image-generation")
    assert {"diffusion", "distillation", read_metadata(run / name)["method"]} <= set(data.tags)
    assert data.license == ("unknown" if name == "own" else "cc-by-nc-4.0")
    assert data.base_model == (None if name == "own" else "someone/first")
    assert ModelCard(body(run / name)).data.to_dict() == data.to_dict() == front


def test_licences_come_down_from_teacher_to_student(run):
    found = {
        name: read_metadata(run / name)["licences"] for name in ("own", "progressive-2", "progressive-1")
    }
    assert found["own"] == {"data": "cc-by-4.0"}
    assert (
        found["progressive-2"] == found["progressive-1"] == {"teacher": "cc-by-nc-4.0", "data": "cc-by-4.0"}
    )
    assert "- teacher progressive-2: cc-by-nc-4.0, which forbids commercial use" in body(
        run / "progressive-1"
    )
    assert "- data digits: cc-by-4.0\n" in body(run / "own")


def test_of_a_path_its_last_part_is_published(run):
    assert read_metadata(run / "progressive-2")["sources"] == {"teacher": "theirs", "data": "digits"}
    card = body(run / "progressive-2")
    assert "teacher theirs" in card and "private" not in card


def test_a_licence_without_commerce_is_named_in_the_report(run):
    line = (
        "The teacher of progressive-1 and progressive-2 is under cc-by-nc-4.0, which forbids commercial use."
    )
    assert limits(run) == [line]
    assert (
        f"> **Warning.** {line}" in (run / "report.md").read_text()
        and line in (run / "report.html").read_text()
    )


def test_the_same_run_again_leaves_its_cards(run):
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/*") if path.is_file()}
    stages.run(recipe.build(yaml.safe_load((run / "recipe.yaml").read_text())), run)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_copy_keeps_figures_recipe_and_licences(run, fastdiff, tmp_path):
    out = tmp_path / "copy"
    code, said, _ = fastdiff("export", run / "progressive-1", "--to", "diffusers", "--out", out)
    assert (
        code == 0
        and said.splitlines()[-1] == f"{out / CARD} has a script that samples it with diffusers only"
    )
    assert body(out) == body(run / "progressive-1")
    kept = json.loads((out / "fastdiff.json").read_text())
    assert {key: kept[key] for key in ("sources", "licences", "card", "weights")} == {
        key: read_metadata(run / "progressive-1")[key] for key in ("sources", "licences", "card", "weights")
    }


def test_a_copy_of_a_plain_folder_carries_its_licence(tmp_path, fastdiff):
    from diffusers import DDIMPipeline

    export(student(), tmp_path / "plain", {})
    DDIMPipeline.from_pretrained(tmp_path / "plain").save_pretrained(tmp_path / "theirs")
    stated(tmp_path / "theirs", NONCOMMERCIAL)
    assert fastdiff("export", tmp_path / "theirs", "--out", tmp_path / "copy")[0] == 0
    assert read_metadata(tmp_path / "copy")["licences"] == {"weights": "cc-by-nc-4.0"}
    assert metadata_load(tmp_path / "copy" / CARD)["license"] == "cc-by-nc-4.0"
    assert "- weights theirs: cc-by-nc-4.0, which forbids commercial use" in body(tmp_path / "copy")


def test_where_there_is_no_script_the_last_line_says_why(tmp_path, fastdiff):
    model = student()
    model.sampling = Sampling("dpmpp_2m", "uniform", (4,))
    export(model, tmp_path / "model", {})
    said = fastdiff("export", tmp_path / "model", "--out", tmp_path / "copy")[1].splitlines()[-1]
    assert said.startswith(f"{tmp_path / 'copy' / CARD}: diffusers cannot sample it") and "dpmpp_2m" in said


def test_a_model_of_unknown_origin_says_so(tmp_path):
    export(student(), tmp_path, {})
    card = body(tmp_path)
    assert "The origin of the weights is unknown." in card and "license: unknown" in card
    assert f"# {tmp_path.name}" in card and "## Recipe" not in card and "## Figures" not in card


def test_names_from_elsewhere_cannot_break_a_card(tmp_path):
    theirs = stated(
        tmp_path,
        {"license": "a: b\n---\n# gone", "base_model": ["x\n---\ny", {"a": 1}], "license_name": None},
    )
    noted = lineage({"teacher": ("someone/model", theirs)})
    (tmp_path / CARD).write_text(text(student(), noted, "name"))
    front = metadata_load(tmp_path / CARD)
    assert front["license"] == "a: b --- # gone" and front["base_model"] == ["x --- y", "{'a': 1}"]


def test_damaged_notes_are_refused(tmp_path):
    export(student(), tmp_path, {"licences": {"teacher": "mit"}})
    notes = json.loads((tmp_path / "fastdiff.json").read_text())
    (tmp_path / "fastdiff.json").write_text(json.dumps(notes | {"licences": ["mit"]}))
    assert limits(tmp_path.parent) == []
    with pytest.raises(FastdiffError, match="licences"):
        load(tmp_path)


def test_an_adapter_tells_who_reads_it(tmp_path):
    lora = {
        "rank": 4,
        "alpha": 8,
        "layers": 12,
        "read_by": "diffusers StableDiffusionPipeline.load_lora_weights",
    }
    said = text(student(), {"lora": lora}, "few")
    assert "adapter of rank 4, which is also stored separately in `lora/`" in said
    assert "with `StableDiffusionPipeline.load_lora_weights` of diffusers" in said
    assert "lora" not in text(student(), {"lora": None}, "few")
    export(student(), tmp_path, {"lora": lora | {"read_by": "`](evil) x"}})
    with pytest.raises(FastdiffError, match="lora.read_by"):
        read_metadata(tmp_path)


def test_what_a_model_does_is_said_as_the_hub_says_it():
    net = unet((1, 8, 8), channels=(8,), layers=1, image=1)
    upper = Denoiser(net, Cosine(), "v", (1, 8, 8))
    assert "pipeline_tag: image-to-image" in text(upper, {}, "few")
    assert "pipeline_tag: unconditional-image-generation" in text(upper.with_base(student()), {}, "few")
