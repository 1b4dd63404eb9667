"""The training of feature networks: what they learn, what they are called, and what is refused."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError, FastdiffWarning
from fastdiff.data.dataset import Dataset
from fastdiff.data.registry import open_dataset
from fastdiff.evaluation.feature_training import (
    batches,
    divided,
    name_of,
    train_features,
    varied,
    widths_for,
    write_features,
)
from fastdiff.evaluation.metrics.extractors import open_extractor
from tests.helpers.tensors import rng


def striped(count=60, side=8, labelled=True):
    """Noisy images that are bright above (class 0) or below (class 1), grey."""
    labels = torch.arange(count) % 2
    drawn = torch.randint(0, 100, (count, 1, side, side), generator=rng(), dtype=torch.uint8)
    for image, label in zip(drawn, labels, strict=True):
        image[:, label * side // 2 : (label + 1) * side // 2] += 150
    names = ("above", "below") if labelled else ()
    return Dataset("path/to/Stripes", drawn, labels if labelled else None, 2 * labelled, names=names)


def test_a_network_learns_the_classes_and_states_what_it_has_learned(tmp_path):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    trained = train_features(striped(), epochs=12)
    assert torch.equal(torch.random.get_rng_state(), before)
    info = trained.info
    assert info["test_accuracy"] > 0.8 and info["chance_accuracy"] == 0.5
    assert (info["name"], info["classes"], info["task"]) == ("stripes", 2, "classes")
    assert info["trained_on"] == (
        "path/to/Stripes: 48 images of 8 x 8 in 1 channel, 2 classes; accuracy on 12 held-out images"
    )
    write_features(trained, tmp_path / "out")
    net = open_extractor(str(tmp_path / "out"), "cpu")
    assert (net.named("fd"), net.classes, net.size) == ("fd_stripes", 2, 8)
    images = striped().get(torch.arange(5))[0]
    expected = trained.net(striped().examples[:5])[0]
    torch.testing.assert_close(net(images)["features"], expected, rtol=1e-4, atol=1e-5)


def test_features_that_say_little_are_named():
    noise = torch.randint(0, 256, (40, 1, 8, 8), generator=rng(), dtype=torch.uint8)
    with pytest.warns(
        FastdiffWarning, match="right on .* by chance would be on 25.0%: its features say little"
    ):
        train_features(Dataset("noise", noise), epochs=1)


def test_without_labels_it_learns_rotations(tmp_path):
    trained = train_features(striped(labelled=False), epochs=8)
    assert trained.info["task"] == "rotations" and trained.info["chance_accuracy"] == 0.25
    write_features(trained, tmp_path)
    net = open_extractor(str(tmp_path), "cpu")
    assert list(net.layers) == ["features", "spatial"] and net.classes is None
    assert net(torch.zeros(2, 1, 8, 8))["spatial"].shape == (2, 7 * 2 * 2)


def test_the_same_seed_gives_the_same_network_and_a_test_split_is_not_trained_on():
    first, again, other = (train_features(striped(), epochs=1, seed=seed).net for seed in (0, 0, 1))
    weights = [net.head.weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    judged = train_features(striped(), striped(20), epochs=1)
    assert judged.info["trained_on"].endswith(
        "60 images of 8 x 8 in 1 channel, 2 classes; accuracy on 20 test images"
    )
    unlike = train_features(striped(), striped(20, labelled=False), epochs=1)
    assert "12 held-out" in unlike.info["trained_on"]


def test_images_that_are_not_square(tmp_path):
    wide = Dataset("wide", torch.randint(0, 256, (24, 3, 8, 12), generator=rng(), dtype=torch.uint8))
    trained = train_features(wide, epochs=1)
    assert trained.info["size"] is None and trained.info["classes"] == 2
    write_features(trained, tmp_path)
    net = open_extractor(str(tmp_path), "cpu")
    assert net.size is None and net(torch.zeros(2, 3, 8, 12))["features"].shape == (2, 128)


@pytest.mark.parametrize(
    "data, name",
    [
        ("path/to/My Shapes/", "my_shapes"),
        ("uoft-cs/cifar10@main", "cifar10"),
        ("shapes/train", "shapes"),
        ("shapes/*.parquet", "shapes"),
        ("digits", "digits_data"),  # another network is called digits
        ("faces_min", "faces_min_data"),  # keys of least values end so
        ("/", "own"),
    ],
)
def test_the_name_is_that_of_the_data(data, name):
    assert name_of(data) == name


@pytest.mark.parametrize(
    "dataset, options, message",
    [
        (striped(), {"name": "a b"}, "name = 'a b': expected letters"),
        (striped(), {"name": "digits"}, "name = digits: expected none of digits, inception"),
        (striped(), {"name": "x_inf"}, "no ending of _se"),
        (open_dataset("toy", n=50), {}, r"data toy = \(2,\): expected grey or RGB images"),
        (striped(19), {}, "19 images: expected at least 20"),
    ],
)
def test_what_cannot_be_learned(dataset, options, message):
    with pytest.raises(FastdiffError, match=message):
        train_features(dataset, **options)


def test_a_fifth_of_each_class_is_left_for_the_test():
    fit, test = divided(striped(40), rng())
    assert striped(40).labels[test].bincount().tolist() == [4, 4]
    assert sorted([*fit.tolist(), *test.tolist()]) == list(range(40))


def test_batches_pass_over_the_data_again_and_again():
    found = torch.cat(list(batches(7, 3, 7, rng())))
    assert len(found) == 21 and found.bincount().tolist() == [3] * 7


def test_variations_are_shifts_with_repeated_edges_and_mirrored_on_request():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(40, -1, -1, -1)
    shifted = varied(image, False, rng())
    assert shifted.shape == image.shape and len(shifted.unique(dim=0)) > 10
    assert (shifted[..., 1:].int() - shifted[..., :-1].int()).aminmax() == (0, 1)  # columns keep their order
    assert (varied(image, True, rng())[..., 0].int() > varied(image, True, rng())[..., -1].int()).any()


@pytest.mark.parametrize(
    "side, widths",
    [(32, (32, 64, 128)), (64, (16, 32, 64, 128)), (8, (32, 64, 128)), (2, (64, 128)), (1, (128,))],
)
def test_large_images_are_halved_more_often(side, widths):
    assert widths_for(side) == widths
