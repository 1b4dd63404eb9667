"""The base of diffusers' image networks: condition images, and copies that take more inputs."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.networks import UNet, unet
from fastdiff.networks.backbone import EMBEDDING_CHANNELS, rebuild, widened

SMALL = {"channels": (8, 16), "layers": 1, "groups": 4}


@pytest.mark.parametrize(("image", "classes"), [(1, 0), (3, 3), (15, 3)])
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


@torch.no_grad()
def test_new_channels_have_no_effect_and_lie_at_their_place():
    torch.manual_seed(0)
    module = unet((2, 8, 8), **SMALL, image=3).eval().module
    wide = widened(module, "conv_in", 2, 1)
    x, t = torch.randn(3, 5, 8, 8), torch.tensor([3.0, 400.0, 999.0])
    more = torch.randn(3, EMBEDDING_CHANNELS, 8, 8)
    torch.testing.assert_close(
        wide(torch.cat([x[:, :2], more, x[:, 2:]], 1), t).sample, module(x, t).sample, rtol=0, atol=1e-6
    )
    kernel = wide.conv_in.weight
    assert not kernel[:, 2:-3].any() and torch.equal(kernel[:, -3:], module.conv_in.weight[:, 2:])


def test_a_rebuilt_module_keeps_its_settings_dtype_and_mode():
    module = unet((1, 8, 8), **SMALL).eval().module.double()
    new = rebuild(module, in_channels=4)
    assert new.config.in_channels == 4 and not new.training
    assert tuple(new.config.block_out_channels) == (8, 16)
    assert {p.dtype for p in new.parameters()} == {torch.float64}
    assert not torch.equal(new.conv_out.weight, module.conv_out.weight)


def test_a_module_of_other_channels_makes_no_such_samples():
    module = unet((2, 8, 8), **SMALL).module
    for shape in ((3, 8, 8), (2, 8)):
        with pytest.raises(
            ValueError, match="2 to 2 channels, guided False: it cannot produce samples of shape"
        ):
            UNet.of(module, shape, False)
