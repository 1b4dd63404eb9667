"""Features by which discriminators see clean samples: VGG16's, a classifier's, the teacher's."""

import pytest
import torch

from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.discriminator_features import VGG16
from tests.helpers.adversaries import JUDGED, pictures
from tests.helpers.lpips import random_weights
from tests.helpers.oracles import batch_of


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    return random_weights(tmp_path_factory.mktemp("lpips"))


def test_the_features_of_vgg16_are_frozen_and_let_gradients_through(vgg16):
    features = VGG16(str(vgg16), size=32)
    method, model = ADD(features_of=features), pictures()
    nets = {
        "student": model,
        "teacher": model,
        **method.trainable_networks(model, model),
        **method.frozen_networks(model, model),
    }
    assert not any(p.requires_grad for p in nets["features"].parameters()) and not nets["features"].training
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    real, made = method.extract_features(nets, batch_of(torch.zeros(2, 1, 8, 8)), x, -x)
    assert [feature.shape[1:] for feature in real] == [(1024, 64), (256, 128), (64, 256), (16, 512), (4, 512)]
    nets["discriminator"](made).sum().backward()
    assert x.grad.abs().max() > 0 and nets["discriminator"](real).shape == (2, 5)


def test_what_the_teacher_is_asked():
    """Evaluations an image, the discriminator's turn and its own together."""
    known = {"gan": 0, "ladd": 1.5, "add": 2.0, "progressive": 4.5, "stochastic": 4.5, "pcm": 2.5}
    assert {name: method.teacher_nfe() for name, method in JUDGED.items() if name in known} == known
    assert ADD(features_of=VGG16(), guidance=2.0).teacher_nfe() == 1.0
    assert (
        LADD(discriminator_turns=3).teacher_nfe() == 7 / 4 and ADD(discriminator_turns=3).teacher_nfe() == 2.0
    )
