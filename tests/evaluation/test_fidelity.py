"""The figures of torch-fidelity's own command, on the same two folders and the same weights."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from fastdiff.data.registry import open_dataset
from fastdiff.evaluation.metrics.extractors import open_extractor
from fastdiff.evaluation.opening import evaluate_images

COUNT = 20  # images a folder: the network takes a fifth of a second for one


class Fresh(FeatureExtractorInceptionV3):
    """Inception-v3 with newly drawn weights."""

    def load_state_dict(self, *args, **kwargs):
        return None


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.save({}, folder / "none.pth")
    torch.manual_seed(0)
    net = Fresh("inception-v3-compat", ["2048"], feature_extractor_weights_path=folder / "none.pth")
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight)  # or features die out on the way up
    torch.save(net.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of coloured blobs, the second's duller."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for name, coarse, contrast in (("made", 5, 1.0), ("real", 5, 0.9)):
        folder = tmp_path_factory.mktemp(name)
        for i in range(COUNT):
            blob = torch.rand(1, 3, coarse, coarse, generator=rng)
            blob = torch.nn.functional.interpolate(blob, (32, 32), mode="bicubic")
            pixels = ((blob[0].clamp(0, 1) - 0.5) * contrast + 0.5).mul(255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        found.append(folder)
    return found


@pytest.mark.long
def test_figures_are_those_of_torch_fidelitys_command(folders, weights):
    made, real = folders
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch_fidelity.fidelity",
            "--input1",
            made,
            "--input2",
            real,
            "--cpu",
            "--isc",
            "--fid",
            "--kid",
            "--prc",
            "--feature-extractor",
            "inception-v3-compat",
            "--feature-extractor-weights-path",
            weights,
            "--kid-subset-size",
            str(COUNT),
            "--no-cache",
            "--save-cpu-ram",
            "--json",
            "--silent",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout[done.stdout.index("{") :])
    ours = evaluate_images(
        open_dataset(str(made)), open_dataset(str(real)), f"inception:{weights}", ("fd", "kd", "score", "pr")
    )
    for name, their_name in {
        "fid": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean",
        "is": "inception_score_mean",
        "precision_inception": "precision",
        "recall_inception": "recall",
    }.items():
        assert ours[name] == pytest.approx(theirs[their_name], rel=1e-4), name
    assert 0 < ours["precision_inception"] + ours["recall_inception"] < 2  # or equality says nothing
    assert ours["kid"] != 0 and ours["is"] > 1.0001 and ours["kid_se"] > 0


def test_spatial_features_are_seven_maps_before_the_pool(weights):
    net = open_extractor(f"inception:{weights}", "cpu")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    layers = net(images)
    assert {layer: tuple(x.shape) for layer, x in layers.items()} == {
        "features": (2, 2048),
        "logits": (2, 1008),
        "spatial": (2, 7 * 17 * 17),
    }
    assert layers["spatial"].std() > 0 and layers["spatial"].min() >= 0  # after the nonlinearity
