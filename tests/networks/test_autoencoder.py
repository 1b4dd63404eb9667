"""Autoencoders: the shipped one knows the digits, and latents have the units of their model."""

import pytest
import torch

from fastdiff.data.toys import digits
from fastdiff.networks.autoencoder import Autoencoder
from tests.helpers.latents import PIPELINE


@pytest.fixture(scope="module")
def latent():
    return Autoencoder.open(PIPELINE)


def test_the_shipped_autoencoder_knows_the_digits(latent):
    images, _ = digits().get(torch.arange(256))
    mean, spread = latent.encode(images)
    assert (
        mean.shape == (256, 2, 4, 4)
        and 0.8 < mean.std() < 1.2
        and mean.mean().abs() < 0.2
        and (spread > 0).all()
    )
    assert (latent.decode(mean) - images).square().mean().sqrt() < 0.08
    assert latent.shape_of(latent.latent_shape((1, 8, 8))) == (1, 8, 8)
