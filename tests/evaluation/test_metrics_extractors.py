"""Feature networks: what they are called, where their weights come from, and what is never run."""

import json
import os
import socket

import pytest
import torch
import torch_fidelity
from sklearn.model_selection import train_test_split
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from fastdiff.core.errors import FastdiffError
from fastdiff.data.image_grid import to_uint8
from fastdiff.evaluation.metrics import extractors
from fastdiff.evaluation.metrics.extractors import open_extractor
from tests.helpers.paths import ROOT

FEATURES = ROOT / "checkpoints" / "digits" / "features"


def test_uint8_rounds_half_up_and_clamps():
    levels = torch.arange(256)
    assert torch.equal(to_uint8(levels / 127.5 - 1), levels.to(torch.uint8))
    assert to_uint8(torch.tensor([-9.0, -1, 0, 1, 9])).tolist() == [0, 0, 128, 255, 255]


def test_shipped_network_reproduces_its_stated_accuracy(digits, extractor):
    images, labels = digits
    _, test = train_test_split(torch.arange(1797), test_size=360, stratify=labels, random_state=0)
    predicted = extractor(images[test])["logits"].argmax(1)
    stated = json.loads((FEATURES / "features.json").read_text())["test_accuracy"]
    assert (predicted == labels[test]).float().mean().item() == pytest.approx(stated, abs=1e-4)
    assert stated >= 0.985
    assert (FEATURES / "model.safetensors").stat().st_size < 2**20


def test_extractor_says_what_it_is(digits, extractor):
    layers = extractor(digits[0][:70])
    assert {layer: tuple(x.shape) for layer, x in layers.items()} == {
        "features": (70, 64),
        "logits": (70, 10),
        "spatial": (70, 7 * 16),
    }
    assert not layers["features"].requires_grad
    grey = extractor(digits[0][:70].expand(-1, 3, -1, -1))["features"]
    assert torch.equal(layers["features"], grey)  # grey is three equal channels
    assert str(extractor) == f"digits@{extractor.fingerprint}" and len(extractor.fingerprint) == 12
    assert [extractor.named(family) for family in ("fd", "precision")] == ["fd_digits", "precision_digits"]


def test_extractor_is_found_beside_the_package_from_anywhere(extractor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_extractor("checkpoints/digits/features", "cpu").fingerprint == extractor.fingerprint


def test_other_weights_and_another_way_to_features_have_another_fingerprint(extractor, monkeypatch):
    first = extractor.fingerprint
    monkeypatch.setattr(extractors, "VERSION", "next")
    assert open_extractor("checkpoints/digits/features", "cpu").fingerprint != first
    monkeypatch.undo()
    other = open_extractor("checkpoints/digits/features", "cpu")
    other.net.net.head.bias.data += 1
    assert other.fingerprint != first


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No network, as fast as it can be said, and an empty cache of torch's."""
    with socket.socket() as closed:
        closed.bind(
            ("127.0.0.1", 0)
        )  # bound and not listening: refuses at once, as a machine without network does
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        offline = {name: f"{address}/{url.rpartition('/')[2]}" for name, url in extractors.URLS.items()}
        monkeypatch.setattr(extractors, "URLS", offline)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield tmp_path


@pytest.mark.parametrize(
    "spec, file",
    [
        ("inception", "weights-inception-2015-12-05-6726825d.pth"),
        ("vgg16", "vgg16-397923af.pth"),
        (
            "clip-vit-b-32",
            "clip-vit-b-32-40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af.pt",
        ),
    ],
)
def test_missing_weights_are_one_clear_line(spec, file, nowhere, capfd):
    with pytest.raises(FastdiffError) as error:
        open_extractor(spec, "cpu")
    message = str(error.value)
    for part in (file, "$TORCH_HOME/hub/checkpoints", f"extractor: {spec}:/"):
        assert part in message
    assert "\n" not in message and capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None


def test_dinov2_is_opened_from_copies_at_hand_alone(nowhere):
    with pytest.raises(FastdiffError, match="facebookresearch_dinov2_main.*dinov2_vits14_pretrain.pth"):
        open_extractor("dinov2-vit-s-14", "cpu")
    code = nowhere / "hub" / "facebookresearch_dinov2_main"
    code.mkdir(parents=True)
    (nowhere / "hub" / "checkpoints").mkdir()
    torch.save({}, nowhere / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth")
    (code / "hubconf.py").write_text(
        "import torch\ndef dinov2_vits14():\n    return torch.nn.Sequential(\n"
        "        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 5))\n"
    )
    (nowhere / "hub" / "trusted_list").write_text("facebookresearch_dinov2\n")
    net = open_extractor("dinov2-vit-s-14", "cpu")
    assert net(torch.zeros(3, 3, 32, 32))["features"].shape == (3, 5)
    assert net.named("fd") == "fd_dinov2_vit_s_14" and "logits" not in net.layers


def test_vgg_and_a_registered_network_of_ones_own(nowhere):
    from torchvision.models import vgg16

    torch.manual_seed(0)
    torch.save(vgg16().state_dict(), nowhere / "v.pth")
    net = open_extractor(f"vgg16:{nowhere}/v.pth", "cpu")
    assert (
        net(torch.zeros(1, 3, 32, 32))["features"].shape == (1, 4096)
        and net.named("precision") == "precision_vgg16"
    )

    class Mean(torch_fidelity.FeatureExtractorBase):
        @staticmethod
        def get_provided_features_list():
            return ("mean",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "mean"

        def __init__(self, name, features_list, **kwargs):
            super().__init__(name, features_list)

        def forward(self, images):
            return (images.float().mean((2, 3)),)

    torch_fidelity.register_feature_extractor("mean-colour", Mean)
    try:
        net = open_extractor("mean-colour", "cpu")
        assert (
            net(torch.ones(2, 3, 4, 4))["features"].tolist() == [[255.0] * 3] * 2
            and net.named("fd") == "fd_mean_colour"
        )
    finally:
        del FEATURE_EXTRACTORS_REGISTRY["mean-colour"]


@pytest.mark.parametrize(
    "spec",
    [
        "no/such/folder",
        "inception:/no/such.pth",
        "{tmp}",
        "inception:{tmp}/junk.pth",
        "vgg16:{tmp}/junk.pth",
        "clip-vit-b-32:{tmp}/junk.pth",
        "incepton",
    ],
)
def test_bad_extractors_are_the_users_to_mend(spec, tmp_path):
    (tmp_path / "junk.pth").write_text("<html>not found</html>")
    with pytest.raises(FastdiffError, match="no such file|expected a folder|not the weights") as error:
        open_extractor(spec.format(tmp=tmp_path), "cpu")
    assert "\n" not in str(error.value)


def test_weights_are_never_unpickled_blindly(tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save(Touch(), tmp_path / "evil.pth")
    for name in ("inception", "vgg16", "clip-vit-b-32"):
        with pytest.raises(FastdiffError, match="not the weights"):
            open_extractor(f"{name}:{tmp_path}/evil.pth", "cpu")
    assert not (tmp_path / "executed").exists()
