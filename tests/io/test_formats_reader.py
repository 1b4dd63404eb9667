"""The reader of models that others have saved: pipelines that are known, and the rest by name."""

import json
import shutil

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.io.formats.edm import EDM_FILE
from fastdiff.io.formats.reader import READERS, load_foreign
from fastdiff.io.load import load
from tests.helpers.stock_pipelines import INDEX


def test_an_unknown_pipeline_is_refused_with_those_that_are_known(opened, tmp_path):
    shutil.copytree(opened("pixels")[2], tmp_path / "model")
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    (tmp_path / "model/model_index.json").write_text(json.dumps(index | {"_class_name": "WanPipeline"}))
    refusal = "this 'WanPipeline' is not supported, expected one of DDPMPipeline, "
    with pytest.raises(FastdiffError, match=refusal) as caught:
        load(tmp_path / "model")
    assert all(name in str(caught.value) for name in READERS) and "\n" not in str(caught.value)


def test_only_pipelines_and_networks_that_are_known_are_opened(copy):
    (copy / "fastdiff.json").unlink()
    index = json.loads((copy / INDEX).read_text())
    for key, value, known in (
        ("unet", ["diffusers", "UNet2DConditionModel"], "expected a UNet2DModel"),
        ("_class_name", "AudioLDM2Pipeline", "expected one of DDPMPipeline, DDIMPipeline, "),
    ):
        (copy / INDEX).write_text(json.dumps({**index, key: value}))
        with pytest.raises(FastdiffError, match=f"is not supported, {known}"):
            load(copy)


@pytest.mark.parametrize(("file", "kind"), [(INDEX, "a diffusers model"), (EDM_FILE, "an EDM network")])
def test_a_damaged_description_is_one_line_with_its_kind(tmp_path, file, kind):
    with pytest.raises(FastdiffError, match=f"is not a model: expected fastdiff.json or {INDEX} in it"):
        load_foreign(tmp_path)
    for text in ("{", "[]", "{}", '{"_class_name": ["DDPMPipeline"]}'):
        (tmp_path / file).write_text(text)
        with pytest.raises(FastdiffError, match=rf"^{tmp_path}: cannot be loaded as {kind} \(") as caught:
            load_foreign(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_pipeline_has_a_reader_by_its_own_name():
    import diffusers

    assert all(hasattr(diffusers, name) for name in READERS)
