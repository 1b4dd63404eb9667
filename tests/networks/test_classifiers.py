"""Feature networks of small images: what they return, and weights that come back from a folder."""

import json

import pytest
import torch
from safetensors.torch import save_file

from fastdiff.data.registry import open_dataset
from fastdiff.networks.classifiers import DigitFeatures, PictureFeatures, load_features
from tests.helpers.paths import ROOT
from tests.helpers.tensors import rng


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng())


def test_the_shipped_classifier_knows_the_digits():
    net, info = load_features(ROOT / "checkpoints/digits/features")
    digits = open_dataset("digits")
    features, logits, maps = net(digits.examples[:300])
    assert (logits.argmax(1) == digits.labels[:300]).float().mean() > 0.97
    assert (features.shape, maps.shape) == ((300, 64), (300, 64, 4, 4))
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    grey = digits.examples[:4].expand(-1, 3, -1, -1)  # as three equal channels
    torch.testing.assert_close(net(grey)[0], features[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_width_has_maps_of_half_the_size(channels):
    net = PictureFeatures(16, channels, (4, 6, 8), 5).eval()
    images = noise(2, 3, 16, 16)
    features, logits, maps = net(images)
    assert [tuple(x.shape[1:]) for x in net.feature_maps(images.float() / 127.5 - 1)] == [
        (4, 16, 16), (6, 8, 8), (8, 4, 4)
    ]  # fmt: skip
    assert (logits.shape, net.dims) == ((2, 5), 8)
    torch.testing.assert_close(features, maps.flatten(2).mean(2))


def test_a_grey_classifier_sees_the_mean_of_the_channels():
    torch.manual_seed(0)
    images = noise(2, 3, 16, 16)
    swapped = images.flip(1)
    for net, same in ((PictureFeatures(16, 1, (4, 6)), True), (PictureFeatures(16, 3, (4, 6)), False)):
        assert torch.allclose(net.eval()(images)[0], net(swapped)[0], atol=1e-6) == same


def test_gradients_reach_the_images():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=rng(), requires_grad=True)
    fine, coarse = DigitFeatures().eval().feature_maps(x)
    assert (fine.shape, coarse.shape) == ((2, 32, 8, 8), (2, 64, 4, 4))
    (fine.cos().sum() + coarse.cos().sum()).backward()
    assert x.grad.abs().sum() > 0 and torch.equal(x.grad[:, 0], x.grad[:, 2])


@pytest.mark.parametrize("made", [DigitFeatures(), PictureFeatures(16, 1, (4, 6), 5)])
def test_a_stored_network_comes_back(made, tmp_path):
    with torch.no_grad():
        made.trunk[0][1].running_mean.fill_(0.3) if isinstance(made, DigitFeatures) else None
    save_file(made.state_dict(), tmp_path / "model.safetensors")
    info = {"name": "own"}
    if isinstance(made, PictureFeatures):
        info |= {"size": 16, "channels": 1, "widths": [4, 6], "classes": 5}
    (tmp_path / "features.json").write_text(json.dumps(info))
    net, found = load_features(tmp_path)
    images = noise(3, 1, made.size, made.size)
    assert found == info and type(net) is type(made)
    assert torch.equal(net(images)[1], made.eval()(images)[1])
