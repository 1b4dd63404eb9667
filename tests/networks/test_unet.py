"""UNets: the shape they keep, and what else they are made of."""

import pytest
import torch

from fastdiff.core.condition import NO_LABEL
from fastdiff.core.errors import FastdiffError
from fastdiff.networks import UNet, unet

SMALL = {"channels": (8, 16), "layers": 1, "groups": 4}


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


def test_a_network_without_a_null_class_leaves_out_the_embedding_for_no_label():
    module = unet((1, 8, 8), 9, **SMALL).module
    module.register_to_config(null_class=False)
    net = UNet.of(module, (1, 8, 8), False).eval()
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([500.0, 500.0])
    mixed = net(x, t, None, {"label": torch.tensor([9, NO_LABEL])})
    assert (net.num_classes, net.null_label) == (10, None)
    module.class_embedding.weight.data[9] = 0
    torch.testing.assert_close(mixed[1:], net(x[1:], t[1:], None, {"label": torch.tensor([9])}))
    with pytest.raises(FastdiffError, match="needs labels"):
        net(x, t)


def test_a_learned_embedding_of_times_is_refused():
    module = unet((1, 8, 8), **SMALL).module
    module.register_to_config(time_embedding_type="learned")
    with pytest.raises(ValueError, match="time_embedding_type = learned: expected positional or fourier"):
        UNet.of(module, (1, 8, 8), False)
