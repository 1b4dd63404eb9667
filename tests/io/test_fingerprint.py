"""Fingerprints of models: equal for equal weights, and different for any change."""

import hashlib
import json
import shutil

from safetensors.torch import load_file, save_file

from fastdiff.core.files import sha256
from fastdiff.io.fingerprint import component_hashes, fingerprint, hash_of, settings_digest
from tests.helpers.stock_pipelines import WEIGHTS


def test_an_export_is_known_by_its_weights_alone(copy):
    assert fingerprint(copy) == fingerprint(str(copy)) == sha256(copy / WEIGHTS)
    (copy / "scheduler/scheduler_config.json").write_text("{}")
    assert fingerprint(copy) == sha256(copy / WEIGHTS)


def test_an_export_with_other_settings_is_another_model(copy):
    """Its settings count once they are not those that it was written with; older exports know none."""
    path = copy / "fastdiff.json"
    notes = json.loads(path.read_text())
    assert notes["settings"] == settings_digest(copy, notes)
    found = {fingerprint(copy)}
    for change in ({"predicts": "x0"}, {"sigma_data": 0.5}, {"guidance": {"weights": [1, 4]}}):
        path.write_text(json.dumps(notes | change))
        found.add(fingerprint(copy))
    path.write_text(json.dumps(notes | {"sampling": notes["sampling"] | {"steps": [3]}}))
    assert fingerprint(copy) == sha256(copy / WEIGHTS)  # a row names its sampler and steps
    config = copy / "unet/config.json"
    config.write_text(config.read_text() + " ")
    found.add(fingerprint(copy))
    assert len(found) == 5
    del notes["settings"]
    path.write_text(json.dumps(notes | {"predicts": "x0"}))
    assert fingerprint(copy) == sha256(copy / WEIGHTS)


def test_a_plain_folder_is_known_by_its_weights_and_settings(copy, tmp_path):
    (copy / "fastdiff.json").unlink()
    same, weights, settings = (shutil.copytree(copy, tmp_path / name) for name in ("a", "b", "c"))
    tensors = load_file(weights / WEIGHTS)
    tensors["conv_in.bias"][0] += 1e-3
    save_file(tensors, weights / WEIGHTS)
    with (settings / "scheduler/scheduler_config.json").open("a") as file:
        file.write(" ")
    (same / "README.md").write_text("another card")
    found = [fingerprint(folder) for folder in (copy, same, weights, settings)]
    assert found[0] == found[1] and len(set(found)) == 3


def test_what_is_no_model_is_known_by_its_path(tmp_path):
    assert fingerprint(tmp_path) == str(tmp_path)
    assert hash_of(["ab", "c"]) == hashlib.sha256(b"abc").hexdigest()


def test_components_are_hashed_and_the_network_is_not(tmp_path):
    for place in ("unet/a", "vae/a", "text_encoder/a", "text_encoder/b", "lora/a", "base/a"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / f"{place}.safetensors").write_bytes(place.encode())
    assert component_hashes(tmp_path, "unet") == {
        f"{place}.safetensors": hashlib.sha256(place.encode()).hexdigest()
        for place in ("text_encoder/a", "text_encoder/b", "vae/a")
    }
