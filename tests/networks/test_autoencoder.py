"""Autoencoders: the shipped one knows the digits, and latents have the units of their model."""

from copy import deepcopy

import diffusers
import pytest
import torch

from fastdiff.data.toys import digits
from fastdiff.networks.autoencoder import Autoencoder
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.latents import PIPELINE
from tests.helpers.opened_pipelines import noise


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


def test_latents_are_in_the_models_units(opened):
    images = noise(3, 3, 16, 16).clamp(-1, 1)
    pipeline, model, _ = opened("sd3")
    with torch.no_grad():
        law = pipeline.vae.encode(images).latent_dist
    mean, std = model.latent.encode(images)
    torch.testing.assert_close(mean, (law.mean - 0.1) * 1.5)
    torch.testing.assert_close(std, law.std * 1.5)
    _, exact, _ = opened("ldm")
    latents, none = exact.latent.encode(images)
    assert not none.any() and latents.shape == (3, 3, 8, 8) and exact.latent.folder == "vqvae"
    assert exact.latent.decode(latents).shape == images.shape


def test_latents_may_have_units_by_channel():
    torch.manual_seed(0)
    module = tiny.vae(scaling_factor=0.5, latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[1.0, 2.0, 1.0, 2.0])
    latent, z = Autoencoder.of(module), noise(2, 4, 8, 8)
    with torch.no_grad():
        own = z * torch.tensor([1.0, 2.0, 1.0, 2.0]).view(4, 1, 1) / 0.5 + torch.arange(1.0, 5).view(4, 1, 1)
        torch.testing.assert_close(latent.decode(z), module.decode(own).sample)


def test_decoding_in_slices_is_decoding(opened, monkeypatch):
    _, model, _ = opened("sd")
    z = noise(5, 4, 8, 8)
    whole = model.latent.decode(z)
    monkeypatch.setattr("fastdiff.networks.autoencoder.MAX_PIXELS", 2 * 16 * 16)
    torch.testing.assert_close(model.latent.decode(z), whole)
    assert deepcopy(model).latent is model.latent


def test_a_tiny_autoencoder(tmp_path):
    module = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).eval()
    Autoencoder.of(module).save(tmp_path)
    latent, images = Autoencoder.open(tmp_path), noise(2, 3, 16, 16)
    mean, std = latent.encode(images)
    with torch.no_grad():
        torch.testing.assert_close(mean, module.encode(images).latents)
        torch.testing.assert_close(latent.decode(mean), module.decode(mean).sample)
    assert latent.shape_of((4, 8, 8)) == (3, 16, 16) and not std.any()
