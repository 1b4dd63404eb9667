"""UNet2DConditionModel behind net(x, t, s, cond): what diffusers' own call gives, and what students are told besides."""

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, UNet2DConditionModel

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.methods.jvp import jvp
from fastdiff.networks import TextUNet, text_unet

SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 + 24,
}


def small(**options):
    """A tiny module with every weight drawn."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 12,
            "attention_head_dim": 4,
            "in_channels": 4,
            "out_channels": 4,
            **options,
        }
    ).eval()


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X, TEXT = drawn(3, 4, 8, 8), drawn(3, 5, 12, seed=2)
T, S = torch.tensor([999.0, 340.0, 1.5]), torch.tensor([500.0, 0.0, 0.0])
KINDS = {"text": {}, "labels": {"num_class_embeds": 4}, "sdxl": SDXL, "image": {"in_channels": 7}}
BESIDE = {
    "text": {},
    "labels": {"label": torch.tensor([0, 2, 1])},
    "sdxl": {"pooled": drawn(3, 6)},
    "image": {"image": drawn(3, 3, 8, 8)},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def of(kind, **options):
    """A network of this kind, and what it is asked under."""
    return TextUNet.of(small(**KINDS[kind], **options), (4, 8, 8), False).eval(), {
        "text": TEXT,
        **BESIDE[kind],
    }


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
    assert net.image == 3 and net.channels == 4 and not net.learned_variance
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


# ---- the weight of guidance


@kinds
@torch.no_grad()
def test_a_network_told_its_guidance_begins_as_it_was(kind):
    net, cond = of(kind)
    told = net.with_guidance()
    assert told.module.config.time_cond_proj_dim == 256 and not told.training and told.channels == 4
    asked = cond | {"guidance": torch.tensor([1.0, 7.5, 3.3])}
    assert torch.equal(told(X, T, None, asked), net(X, T, None, cond))
    torch.nn.init.normal_(told.module.time_embedding.cond_proj.weight, std=0.1)
    assert (told(X, T, None, asked) - net(X, T, None, cond)).abs().amax((1, 2, 3)).min() > 1e-4
    assert torch.equal(told(X, T, None, cond), told(X, T, None, cond | {"guidance": torch.ones(3)}))


@torch.no_grad()
def test_the_weight_is_said_as_lcm_says_it():
    net = TextUNet.of(small(time_cond_proj_dim=16), (4, 8, 8), True).eval()
    weights = torch.tensor([1.0, 7.5, 3.3])
    waves = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, weights - 1, 16)
    ours = net(X, T, None, {"text": TEXT, "guidance": weights})
    torch.testing.assert_close(ours, net.module(X, T, TEXT, timestep_cond=waves).sample, rtol=0, atol=1e-5)
    in_double = {"text": TEXT.double(), "guidance": weights}
    torch.testing.assert_close(net.double()(X.double(), T, None, in_double).float(), ours, rtol=0, atol=1e-4)


# ---- the second time


@kinds
@torch.no_grad()
def test_a_network_of_two_times_begins_as_it_was(kind):
    net, cond = of(kind)
    student = net.with_second_time()
    assert (student.null_label, student.image, student.channels) == (net.null_label, net.image, 4)
    assert (student.module.config.in_channels - net.module.config.in_channels == 16) == (kind == "labels")
    for s in (S, T, None):
        torch.testing.assert_close(student(X, T, s, cond), net(X, T, None, cond), rtol=0, atol=1e-5)
    both = student.with_guidance()
    torch.testing.assert_close(
        both(X, T, S, cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}),
        net(X, T, None, cond),
        rtol=0,
        atol=1e-5,
    )


@kinds
def test_every_weight_of_a_student_is_learned(kind):
    net, cond = of(kind)
    student, cond = net.with_second_time().with_guidance(), cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    for _ in range(2):  # the first step lets gradients through to the rest
        student(X, T, S, cond).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [k for k, v in student.state_dict().items() if not (v != before[k]).any()] == []
    said = [student(X, T, s, cond) for s in (S, S + 100, T)]
    assert min((a - b).abs().max() for i, a in enumerate(said) for b in said[:i]) > 1e-4
    assert torch.equal(student(X, T, None, cond), student(X, T, T, cond))


@kinds
@torch.no_grad()
def test_a_stored_student_is_told_from_its_settings(kind, tmp_path):
    net, cond = of(kind)
    student = net.with_second_time().with_guidance()
    student.module.save_pretrained(tmp_path)
    back = TextUNet.of(UNet2DConditionModel.from_pretrained(tmp_path), (4, 8, 8), True).eval()
    assert (back.jumps, back.image, back.null_label) == (student.jumps, net.image, net.null_label)
    assert torch.equal(back(X, T, S, cond), student(X, T, S, cond))


@torch.no_grad()
def test_settings_that_diffusers_does_not_know_are_no_hindrance():
    net, cond = of("text")
    net.module.register_to_config(of_another_version=True)
    assert torch.equal(net.with_second_time()(X, T, S, cond), net(X, T, None, cond))


@kinds
def test_the_forward_derivative(kind):
    """Of consistency in continuous time and mean flows, against central differences."""
    net, cond = of(kind)
    student, x = net.with_second_time().double(), X.double()
    for p in student.parameters():
        torch.nn.init.normal_(p, std=0.1)
    t, s, one, dx = (
        T.double() / 10,
        S.double() / 10,
        torch.ones(3, dtype=torch.float64),
        drawn(3, 4, 8, 8, seed=4).double(),
    )
    value, derivative = jvp(lambda x, t, s: student(x, t, s, cond), (x, t, s), (dx, one, one / 2))
    at = lambda h: student(x + h * dx, t + h, s + h / 2, cond)  # noqa: E731
    with torch.no_grad():
        torch.testing.assert_close(value, at(0))
        torch.testing.assert_close(derivative, (at(1e-4) - at(-1e-4)) / 2e-4, rtol=1e-3, atol=1e-3)
    assert derivative.abs().max() > 0.1


@kinds
@torch.no_grad()
def test_in_bfloat16(kind):
    net, cond = of(kind)
    student, cond = net.with_second_time().with_guidance(), cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}
    half = student.to(torch.bfloat16)(X.bfloat16(), T.bfloat16(), S.bfloat16(), cond)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), net.float()(X, T, None, cond), rtol=0.3, atol=0.3)


# ---- the border


def test_a_denoiser_is_made_of_it():
    net, cond = of("text")
    model = Denoiser(net, DDPM(), "eps", (4, 8, 8))
    assert model(X, torch.tensor(500.0, dtype=torch.float64), None, cond).x0.shape == X.shape


@pytest.mark.parametrize(
    ("options", "shape", "guided", "message"),
    [
        ({}, (3, 8, 8), False, r"4 to 4 channels.*no samples of shape \(3, 8, 8\)"),
        ({}, (4,), False, r"no samples of shape \(4,\)"),
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
    assert (net.null_label, net.image, net.channels, net.learned_variance) == (3, 1, 2, True)
    cond = {"text": TEXT, "image": drawn(3, 1, 4, 4), "label": torch.tensor([0, 2, 1])}
    assert net(X[:, :2], T, None, cond).shape == (3, 4, 8, 8)
    back = TextUNet.of(net.module, (2, 8, 8), False)
    assert (back.null_label, back.image, back.channels, back.learned_variance) == (3, 1, 2, True)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2,), {}, r"text_unet expects images \(C, H, W\), the data have shape \(2,\)"),
        ((1, 8, 6), {"channels": (8, 8, 8)}, "3 resolutions cannot halve images of 8 x 6"),
        ((1, 8, 8), {"heads": 3}, "heads: 16 channels do not part into 3"),
        ((1, 8, 8), {"groups": 5}, "8 is no multiple of the 5 groups"),
    ],
)
def test_misfits_are_refused(shape, options, message):
    with pytest.raises(FastdiffError, match=message):
        text_unet(shape, **SMALL | options)
