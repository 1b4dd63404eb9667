"""Bare networks of diffusers serve as networks of a Denoiser."""

import diffusers
import pytest
import torch

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.networks import DiT, TextUNet, UNet
from tests.helpers import tiny_pipelines as tiny

COSINE = fastdiff.SCHEDULES["cosine"]()


def test_a_unet_is_sampled_and_exported(tmp_path):
    model = fastdiff.Denoiser(tiny.unet(), COSINE, "v", shape=(3, 8, 8)).eval()
    assert type(model.net) is UNet
    images = fastdiff.sample(model, "ddim", steps=2, n=2)
    fastdiff.export(model, tmp_path / "new" / "model")
    stored = str(tmp_path / "new" / "model")
    torch.testing.assert_close(images, fastdiff.sample(stored, "ddim", steps=2, n=2))


@pytest.mark.parametrize("module, kind", [(tiny.text_unet, TextUNet), (lambda: tiny.dit().transformer, DiT)])
def test_other_kinds_without_a_shape(module, kind):
    assert type(fastdiff.Denoiser(module(), COSINE, "eps").net) is kind


def test_what_does_not_fit_is_refused():
    with pytest.raises(FastdiffError, match=r"UNet2DModel: .* samples of shape \(1, 8, 8\)"):
        fastdiff.Denoiser(tiny.unet(), COSINE, "eps", shape=(1, 8, 8))
    with pytest.raises(FastdiffError, match="AutoencoderTiny of diffusers is not supported, expected"):
        fastdiff.Denoiser(diffusers.AutoencoderTiny(), COSINE, "eps", shape=(3, 8, 8))
