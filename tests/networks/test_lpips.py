"""LPIPS as a distance: torch-fidelity's value, a gradient in the images alone,
and one clear line where it cannot be."""

import socket

import pytest
import torch
from torch import nn
from torch_fidelity import sample_similarity_lpips
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from fastdiff.core.errors import FastdiffError
from fastdiff.data.image_grid import to_uint8
from fastdiff.methods.base import LPIPS, SquaredL2
from fastdiff.methods.kd import KD
from fastdiff.methods.reflow import Reflow
from fastdiff.networks import lpips as perceptual
from fastdiff.networks.lpips import CHANNELS, VGG, open_lpips
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.lpips import random_weights


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    return random_weights(tmp_path_factory.mktemp("lpips"))


@pytest.fixture(scope="module")
def theirs(vgg16):
    """torch-fidelity's network with these weights; its resize is an argument."""
    weights, vgg = torch.load(vgg16 / VGG), nn.Module()
    vgg.features = make_layers(cfgs["D"])
    vgg.load_state_dict(weights, strict=False)

    def make(resize=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sample_similarity_lpips, "torchvision_load_pretrained_vgg16", lambda: vgg)
            patch.setattr(
                sample_similarity_lpips,
                "load_state_dict_from_url",
                lambda *a, **k: torch.load(vgg16 / CHANNELS),
            )
            return sample_similarity_lpips.SampleSimilarityLPIPS("lpips", sample_similarity_resize=resize)

    return make


def images(*shape, seed=0):
    """Two batches in [-1, 1] at 8-bit levels."""
    levels = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(seed))
    return levels / 127.5 - 1


@pytest.mark.parametrize(
    ("shape", "size", "resize"),
    [((3, 32, 24), 16, None), ((1, 32, 32), 16, None), ((3, 20, 20), 32, 32), ((1, 8, 8), 32, 32)],
)
def test_the_value_is_torch_fidelitys_on_the_same_pixels(shape, size, resize, vgg16, theirs):
    a, b = images(2, *shape)
    found = LPIPS(str(vgg16), size)(a, b)
    pixels = [to_uint8(x).expand(-1, 3, -1, -1) for x in (a, b)]
    assert found.shape == (2,) and found.min() > 0
    torch.testing.assert_close(found, theirs(resize)(*pixels), rtol=1e-5, atol=1e-7)
    assert torch.equal(LPIPS(str(vgg16), size)(a, a), torch.zeros(2))


def test_the_weights_are_the_public_ones_by_their_addresses():
    theirs = VGG16_Weights.IMAGENET1K_V1.url, sample_similarity_lpips.URL_VGG16_LPIPS
    assert (perceptual.URLS[VGG], perceptual.URLS[CHANNELS]) == theirs


def test_the_gradient_is_that_of_differences_and_ends_at_the_images(vgg16):
    a, b = images(1, 1, 16, 16).double()
    a, way = (
        a.requires_grad_(),
        torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )
    distance, h = LPIPS(str(vgg16), 16), 1e-6
    (slope,) = torch.autograd.grad(distance(a, b).sum(), a)
    with torch.no_grad():
        wanted = (distance(a + h * way, b) - distance(a - h * way, b)) / (2 * h)
    torch.testing.assert_close((slope * way).sum()[None], wanted, rtol=1e-5, atol=1e-12)
    net = open_lpips(str(vgg16), a.device, torch.float64)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    zero = distance(a, a.detach()).sum()
    assert torch.equal(
        torch.autograd.grad(zero, a)[0], torch.zeros_like(a)
    )  # and nothing that is not a number


def test_the_gradient_is_finite_where_a_place_has_no_features(vgg16):
    open_lpips.cache_clear()
    broken = open_lpips(str(vgg16), torch.device("cpu"), torch.float32)
    for layer in broken.stages[0]:
        if isinstance(layer, nn.Conv2d):
            layer.bias.fill_(-1e6)  # every feature is below 0
    a, b = images(1, 3, 16, 16)
    (slope,) = torch.autograd.grad(LPIPS(str(vgg16), 16)(a.requires_grad_(), b).sum(), a)
    assert slope.isfinite().all()
    open_lpips.cache_clear()


def test_half_precision_is_measured_in_float32(vgg16):
    a, b = images(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = LPIPS(str(vgg16), 16)(a.bfloat16(), b.bfloat16())
    assert torch.equal(found, LPIPS(str(vgg16), 16)(a.bfloat16().float(), b.bfloat16().float()))


@pytest.mark.parametrize("shape", [(2,), (2, 8, 8), (3, 8)])
def test_what_is_no_image_is_refused(shape, vgg16):
    for ask in (
        lambda: LPIPS(str(vgg16)).validate(shape, torch.device("cpu")),
        lambda: LPIPS(str(vgg16))(torch.zeros(1, *shape), torch.zeros(1, *shape)),
    ):
        with pytest.raises(
            FastdiffError, match="lpips is for images of 1 or 3 channels.*choose pseudo_huber"
        ):
            ask()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(FastdiffError, match="size = 8"):
        LPIPS(size=8)
    with pytest.raises(FastdiffError, match="reflow compares velocities"):
        Reflow(distance=LPIPS())


def test_weights_that_are_none_are_one_clear_line(vgg16, tmp_path):
    """A missing file, something else, and either file in the place of the other."""

    def complaint(vgg, channels):
        open_lpips.cache_clear()
        for name, content in ((VGG, vgg), (CHANNELS, channels)):
            (tmp_path / name).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / name).write_bytes(content)
        with pytest.raises(FastdiffError) as caught:
            LPIPS(str(tmp_path)).validate((3, 32, 32), torch.device("cpu"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    vgg, channels = ((vgg16 / name).read_bytes() for name in (VGG, CHANNELS))
    torch.save(torch.zeros(3), tmp_path / "tensor")
    tensor = (tmp_path / "tensor").read_bytes()
    assert complaint(None, channels) == f"weights of lpips: {tmp_path / VGG} does not exist"
    assert complaint(vgg, None) == f"weights of lpips: {tmp_path / CHANNELS} does not exist"
    for wrong in ((b"<html>", channels), (channels, channels), (tensor, channels)):
        assert complaint(*wrong) == f"{tmp_path / VGG}: not the weights of lpips; replace or delete it"
    for wrong in ((vgg, b"<html>"), (vgg, vgg), (vgg, tensor)):
        assert complaint(*wrong) == f"{tmp_path / CHANNELS}: not the weights of lpips; replace or delete it"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No network, as fast as it can be said, and an empty cache of torch's."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses at once
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(perceptual, "URLS", {file: f"{address}/{file}" for file in (VGG, CHANNELS)})
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield tmp_path / "torch/hub/checkpoints"


RECIPE = """
name: perceptual
data: digits
model: {net: {name: unet, channels: [8, 16], layers: 1}}
stages:
  student: {method: {name: ect, distance: {name: lpips, size: 16}}, train: {steps: 2, batch: 4}}
bench: {steps: [1], baselines: [], n: 64}
"""


def test_a_stage_asks_for_the_weights_before_it_trains(nowhere, vgg16, tmp_path, refused):
    path = tmp_path / "lpips.yaml"
    path.write_text(RECIPE)
    line = refused("run", path, "--out", tmp_path / "run")
    for part in (VGG, "$TORCH_HOME/hub/checkpoints", "weights: FOLDER of lpips", CHANNELS):
        assert part in line
    assert not (tmp_path / "run/student/log.jsonl").exists()
    for name in (VGG, CHANNELS):  # now they are in the cache
        (nowhere / name).write_bytes((vgg16 / name).read_bytes())
    stages.run(recipe.load(path), tmp_path / "run", only="student")
    assert (tmp_path / "run/student/fastdiff.json").exists()
    assert all(
        path.stat().st_size < 2**21 for path in (tmp_path / "run/student").rglob("*")
    )  # no VGG in its state


def test_vectors_are_refused_before_a_training(tmp_path, refused):
    path = tmp_path / "vectors.yaml"
    path.write_text(
        RECIPE.replace("data: digits", "data: toy").replace(
            "{name: unet, channels: [8, 16], layers: 1}", "mlp"
        )
    )
    assert "lpips is for images" in refused("run", path, "--out", tmp_path / "run")


def test_other_distances_need_nothing():
    KD(distance=SquaredL2()).validate((2,), torch.device("cpu"))
