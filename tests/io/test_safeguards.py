"""What a teacher's pipeline has of safety checker and watermark is named on its student's card."""

import json
import shutil

import fastdiff
from fastdiff.io.export.card import text
from fastdiff.io.licences import lineage
from fastdiff.io.load import load
from fastdiff.io.safeguards import described, safeguards


def with_checker(folder, copy):
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


def test_a_checker_and_a_watermarker_are_found(opened, tmp_path):
    assert safeguards([opened("sd")[2], "nosuch", tmp_path]) == {}
    checked = with_checker(opened("sd")[2], tmp_path / "checked")
    assert safeguards([checked]) == {"safety_checker": "StableDiffusionSafetyChecker"}
    assert safeguards([opened("sdxl")[2]]) == {"watermarker": "StableDiffusionXLWatermarker"}


def test_the_card_names_them_also_a_generation_later(opened, tmp_path):
    checked = with_checker(opened("sd")[2], tmp_path / "checked")
    notes = lineage({"teacher": ("checked", checked)})
    model = load(checked)
    fastdiff.export(model, tmp_path / "student", notes)
    card = (tmp_path / "student" / "README.md").read_text()
    assert "## Not carried over" in card and "`StableDiffusionSafetyChecker`" in card
    assert "safeguards" in lineage({"teacher": ("student", tmp_path / "student")})
    assert "Not carried over" not in text(model, lineage({"teacher": ("sd", opened("sd")[2])}), "plain")
    assert len(described(notes["safeguards"] | {"watermarker": "X"})) == 2
