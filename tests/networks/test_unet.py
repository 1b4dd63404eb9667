"""UNets: the shape they keep, the image they see besides, and what else they are made of."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.networks import UNet, unet

SMALL = {"channels": (8, 16), "layers": 1, "groups": 4}


# ---- unet and mlp


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 4), (2, 16, 16)])
@pytest.mark.parametrize("attention", [(), (8,)])
def test_unet_keeps_the_shape(shape, attention):
    net = unet(shape, **SMALL, attention=attention, dropout=0.1).eval()
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([3.0, 999.0]))
    assert out.shape == x.shape and net.null_label is None and net.module.config.num_class_embeds is None
    torch.testing.assert_close(out[1:], net(x[1:], torch.tensor([999.0])), rtol=1e-4, atol=1e-5)
    assert (out[1:] - net(x[1:], torch.tensor([3.0]))).abs().max() > 1e-4
    assert all(p.numel() for p in net.parameters())
    assert ("Attn" in "".join(net.module.config.down_block_types)) == bool(attention)


# ---- a unet's image, and what else it is made of


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("image", [1, 3, 15])
@torch.no_grad()
def test_an_image_is_told_from_planes(image, classes):
    """Students keep what the teacher saw, in its place, and are told apart by their channels alone."""
    torch.manual_seed(0)
    net = unet((2, 8, 8), classes, **SMALL, image=image).eval()
    x, t, s = torch.randn(3, 2, 8, 8), torch.tensor([999.0, 340.0, 1.5]), torch.tensor([500.0, 0.0, 0.0])
    cond = {"image": torch.randn(3, image, 8, 8), "guidance": torch.tensor([1.0, 2.0, 9.0])}
    told = {"class_labels": torch.full((3,), 3)} if classes else {}
    torch.testing.assert_close(
        net(x, t, None, cond), net.module(torch.cat([x, cond["image"]], 1), t, **told).sample
    )
    for student, two, guided in (
        (net.with_second_time(), True, False),
        (net.with_guidance(), False, True),
        (net.with_second_time().with_guidance(), True, True),
        (net.with_guidance().with_second_time(), True, True),
    ):
        assert (student.condition_channels, student.channels, student.learned_variance) == (image, 2, False)
        torch.testing.assert_close(student(x, t, s, cond), net(x, t, None, cond), rtol=0, atol=1e-5)
        for p in student.parameters():
            torch.nn.init.normal_(p, std=0.3)
        back = UNet.of(student.module, (2, 8, 8), guided)
        assert (back.condition_channels, back.jumps or back.embedded) == (image, two)
        assert torch.equal(back(x, t, s, cond), student(x, t, s, cond))
        others = {"image": cond["image"].flip(0), "guidance": cond["guidance"] + guided}
        for changed in ({"image": others["image"]}, {"guidance": others["guidance"]} if guided else {}):
            assert torch.equal(student(x, t, s, cond | changed), student(x, t, s, cond)) == (not changed)
        assert torch.equal(student(x, t, s, cond), student(x, t, t, cond)) == (not two)


@torch.no_grad()
def test_an_image_is_brought_to_the_size_of_x():
    net, x, t = unet((1, 8, 8), **SMALL, image=1).eval(), torch.randn(2, 1, 8, 8), torch.tensor([3.0, 999.0])
    say = lambda image: net(x, t, None, {"image": image})  # noqa: E731
    image = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(
        say(image), say(torch.nn.functional.interpolate(image, (8, 8), mode="bilinear"))
    )
    torch.testing.assert_close(say(torch.full((2, 1, 16, 16), 0.3)), say(torch.full((2, 1, 8, 8), 0.3)))
    torch.testing.assert_close(
        net.bfloat16()(x.bfloat16(), t.bfloat16(), None, {"image": image}).float(),
        net.float()(x, t, None, {"image": image}),
        rtol=0.3,
        atol=0.3,
    )
    for wrong, got in ((None, "none"), ({"image": torch.randn(2, 3, 4, 4)}, "3")):
        with pytest.raises(FastdiffError, match=f"conditioned on an image of 1 channels, got {got}"):
            net(x, t, None, wrong)


def test_scales_residual_resampling_and_heads():
    net = unet(
        (1, 8, 8), **SMALL, scale_shift=True, resampling="resnet", head=8, embedding=20, attention=(8,)
    )
    config = net.module.config
    assert (
        config.down_block_types == ("AttnDownBlock2D", "ResnetDownsampleBlock2D")
        and config.attention_head_dim == 8
    )
    x = torch.randn(2, 1, 8, 8)
    (net(x, torch.tensor([3.0, 999.0])) - x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert net.module.time_embedding.linear_2.weight.shape == (20, 20)
    assert net.module.mid_block.resnets[0].time_emb_proj.weight.shape == (32, 20)  # scales and shifts
