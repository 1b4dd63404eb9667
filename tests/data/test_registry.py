"""Data sets by name or path: what is missing or misspelt is named."""

import datasets
import huggingface_hub
import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import DATASETS, open_dataset
from tests.helpers.images import picture, save

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "~/no/where", "gone.png", "gone/*.parquet", "a/b/c"]
)
def test_missing_path(name):
    with pytest.raises(FastdiffError, match="no such file or folder"):
        open_dataset(name)


def test_wrong_names_and_options(tmp_path, monkeypatch):
    with pytest.raises(FastdiffError, match="no images found"):
        open_dataset(str(tmp_path))
    save(tmp_path / "0.png", picture())
    with pytest.raises(FastdiffError, match="expected a folder"):
        open_dataset(str(tmp_path / "0.png"))
    with pytest.raises(FastdiffError, match="'limit'; its options: size, image, captions"):
        open_dataset("digits", limit=3)
    with pytest.raises(FastdiffError, match="'path'"):
        open_dataset("images")
    with pytest.raises(FastdiffError, match="mixture, moons"):
        open_dataset("toy", kind="moon")
    assert len(DATASETS["images"](str(tmp_path))) == len(open_dataset("images", path=str(tmp_path))) == 1
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    with pytest.raises(FastdiffError, match="'nobody/nothing': cannot be loaded"):
        open_dataset("nobody/nothing")
