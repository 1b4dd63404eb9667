"""UNet2DConditionModel behind net(x, t, s, cond): what diffusers' own call gives, and fresh ones."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.networks import TextUNet, text_unet
from tests.helpers.text_unets import TEXT, T, X, drawn, of, small

# ---- diffusers' own call


@torch.no_grad()
def test_text_and_mask_are_what_the_module_attends_to():
    net, cond = of("text")
    theirs = net.module
    assert torch.equal(net(X, T, None, cond), theirs(X, T, TEXT).sample)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    masked = net(X, T, None, cond | {"mask": mask})
    assert torch.equal(masked, theirs(X, T, TEXT, encoder_attention_mask=mask).sample)
    torch.testing.assert_close(masked[:1], theirs(X[:1], T[:1], TEXT[:1, :2]).sample, rtol=1e-4, atol=1e-5)
    assert (
        (masked[2] - net(X, T, None, cond)[2]).abs().max()
        < 1e-5
        < (masked[0] - net(X, T, None, cond)[0]).abs().max()
    )


@torch.no_grad()
def test_sdxl_sees_the_pooled_text_and_the_size_in_pixels():
    net, cond = of("sdxl")

    def theirs(*sizes):
        return net.module(
            X,
            T,
            TEXT,
            added_cond_kwargs={
                "text_embeds": cond["pooled"],
                "time_ids": torch.tensor([sizes] * 3),
            },
        ).sample

    assert torch.equal(net(X, T, None, cond), theirs(64, 64, 0, 0, 64, 64))
    cut = net(X, T, None, cond | {"time_ids": torch.tensor([[96, 64, 8, 0, 64, 64]] * 3)})
    assert torch.equal(cut, theirs(96, 64, 8, 0, 64, 64)) and (cut - net(X, T, None, cond)).abs().max() > 1e-5
    pixels = TextUNet(net.module, 4, pixels=1).eval()
    assert torch.equal(pixels(X, T, None, cond), theirs(8, 8, 0, 0, 8, 8))
    assert pixels.with_second_time().pixels == pixels.with_guidance().pixels == 1


@torch.no_grad()
def test_labels_and_images_reach_the_module():
    net, cond = of("labels")
    assert net.null_label == 3
    assert torch.equal(net(X, T, None, cond), net.module(X, T, TEXT, class_labels=cond["label"]).sample)
    assert torch.equal(
        net(X, T, None, {"text": TEXT}), net.module(X, T, TEXT, class_labels=torch.full((3,), 3)).sample
    )
    net, cond = of("image")
    assert net.condition_channels == 3 and net.channels == 4 and not net.learned_variance
    assert torch.equal(net(X, T, None, cond), net.module(torch.cat([X, cond["image"]], 1), T, TEXT).sample)


@torch.no_grad()
def test_a_small_image_is_enlarged_and_a_flat_one_stays_flat():
    net, cond = of("image")
    say = lambda image: net(X, T, None, cond | {"image": image})  # noqa: E731
    torch.testing.assert_close(say(torch.full((3, 3, 4, 4), 0.3)), say(torch.full((3, 3, 8, 8), 0.3)))
    little = drawn(3, 3, 4, 4)
    torch.testing.assert_close(
        say(little), say(torch.nn.functional.interpolate(little, (8, 8), mode="bilinear"))
    )


def test_a_latent_of_any_size_passes():
    net = TextUNet.of(small(block_out_channels=(8, 16)), (4, 9, 6), False)
    assert net(drawn(3, 4, 9, 6), T, None, {"text": TEXT}).shape == (3, 4, 9, 6)


# ---- the border


def test_a_denoiser_is_made_of_it():
    net, cond = of("text")
    model = Denoiser(net, DDPM(), "eps", (4, 8, 8))
    assert model(X, torch.tensor(500.0, dtype=torch.float64), None, cond).x0.shape == X.shape


@pytest.mark.parametrize(
    ("options", "shape", "guided", "message"),
    [
        ({}, (3, 8, 8), False, r"4 to 4 channels.*cannot produce samples of shape \(3, 8, 8\)"),
        ({}, (4,), False, r"cannot produce samples of shape \(4,\)"),
        ({"in_channels": 40}, (4, 8, 8), False, "40 to 4 channels"),
        ({}, (4, 8, 8), True, "time_cond_proj_dim None"),
        ({"time_cond_proj_dim": 16}, (4, 8, 8), False, "time_cond_proj_dim 16"),
        (
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8},
            (4, 8, 8),
            False,
            "class_embed_type p",
        ),
        (
            {"addition_embed_type": "text", "addition_embed_type_num_heads": 4},
            (4, 8, 8),
            False,
            "addition_embed_type text",
        ),
    ],
)
def test_modules_of_another_kind_are_refused(options, shape, guided, message):
    with pytest.raises(ValueError, match=message):
        TextUNet.of(small(**options), shape, guided)


def test_what_is_missing_is_named():
    net, cond = of("image")
    for lacking, message in (
        (None, "conditioned on text"),
        ({"image": cond["image"]}, "conditioned on text"),
        ({"text": TEXT}, "image of 3 channels, got none"),
        (cond | {"image": drawn(3, 1, 8, 8)}, "image of 3 channels, got 1"),
    ):
        with pytest.raises(FastdiffError, match=message):
            net(X, T, None, lacking)


# ---- fresh ones


SMALL = {"text": 12, "channels": (8, 16), "layers": 1, "groups": 4, "heads": 2}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 4)])
def test_a_fresh_one_attends_to_text_where_it_is_told(shape):
    t, x = T[:2], drawn(2, *shape)
    for attention, kind in (((), "DownBlock2D"), ((8,), "CrossAttnDownBlock2D")):
        net = text_unet(shape, **SMALL, attention=attention, dropout=0.1).eval()
        assert net.module.config.down_block_types == (kind, "DownBlock2D") and net.null_label is None
        one, other = (net(x, t, None, {"text": drawn(2, 5, 12, seed=seed)}) for seed in (2, 3))
        assert one.shape == x.shape and (one - other).abs().amax((1, 2, 3)).min() > 1e-6


def test_labels_images_and_variance_of_a_fresh_one():
    net = text_unet((2, 8, 8), 3, **SMALL, image=1, learned_variance=True).eval()
    assert (net.null_label, net.condition_channels, net.channels, net.learned_variance) == (3, 1, 2, True)
    cond = {"text": TEXT, "image": drawn(3, 1, 4, 4), "label": torch.tensor([0, 2, 1])}
    assert net(X[:, :2], T, None, cond).shape == (3, 4, 8, 8)
    back = TextUNet.of(net.module, (2, 8, 8), False)
    assert (back.null_label, back.condition_channels, back.channels, back.learned_variance) == (3, 1, 2, True)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2,), {}, r"text_unet: expected images \(C, H, W\), but the data have shape \(2,\)"),
        (
            (1, 8, 6),
            {"channels": (8, 8, 8)},
            "channels: 3 resolutions need sides divisible by 4, the images are 8 x 6",
        ),
        ((1, 8, 8), {"heads": 3}, "heads = 3: expected a divisor of 16"),
        ((1, 8, 8), {"groups": 5}, "8 is not a multiple of the 5 groups"),
    ],
)
def test_misfits_are_refused(shape, options, message):
    with pytest.raises(FastdiffError, match=message):
        text_unet(shape, **SMALL | options)
