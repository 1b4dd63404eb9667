"""Networks of papers: as many parameters as the papers count, and recipes that name them."""

import re

import pytest
import torch

from fastdiff.core.settings import summary
from fastdiff.core.validation import call, check
from fastdiff.networks import NETWORKS, PRESETS

CIFAR, LATENT = (3, 32, 32), (4, 32, 32)
# shape, classes, parameters, how far off by the share of them: the papers give millions
COUNTS = {
    "ddpm-cifar10": (CIFAR, 0, 35_746_307, 0),
    "edm-cifar10": (CIFAR, 0, 55.7e6, 0.03),
    "adm-64": ((3, 64, 64), 1000, 296e6, 0.002),
    "sd15": ((4, 64, 64), 0, 859_520_964, 0),
    "dit-s/2": (LATENT, 1000, 33e6, 0.005),
    "dit-b/2": (LATENT, 1000, 130.5e6, 0.005),
    "dit-l/2": (LATENT, 1000, 458e6, 0.001),
    "dit-xl/2": (LATENT, 1000, 675e6, 0.001),
}


def built(name, **options):
    """The network of a paper, without the numbers."""
    shape, classes, *_ = COUNTS[name]
    with torch.device("meta"):
        return call(NETWORKS, name, options, "model.net", shape, classes)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_as_many_as_in_the_paper(name):
    net, (_, _, wanted, loose) = built(name), COUNTS[name]
    whole = found = count(net.module)
    if name.startswith("dit"):  # whose blocks share one embedding
        found -= sum(count(block.norm1.emb) for block in net.module.transformer_blocks[1:])
    assert found == pytest.approx(wanted, rel=loose or 1e-12)
    first, *_, last = re.findall(r"([\d.]+)M", summary(PRESETS[name])) * 2
    assert float(first) == pytest.approx(found / 1e6, abs=0.5)
    assert float(last) == pytest.approx(whole / 1e6, abs=0.05) or not name.startswith("dit")


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_overrides_what_it_likes(name):
    deep = {"depth": 1} if name.startswith("dit") else {"layers": 1}
    assert count(built(name, **deep, learned_variance=True).module) < count(built(name).module)
    assert (
        built(name, **deep, learned_variance=True).learned_variance
        and not built(name, **deep).learned_variance
    )
    assert check(NETWORKS, name, {}, "net", ("shape", "classes")) == check(
        NETWORKS, name, PRESETS[name].keywords, "net", ("shape", "classes")
    )


def test_adm_is_built_as_the_paper_says():
    config = built("adm-64").module.config
    assert config.resnet_time_scale_shift == "scale_shift" and config.attention_head_dim == 64
    assert config.down_block_types == ("ResnetDownsampleBlock2D",) + ("AttnDownBlock2D",) * 3
    assert config.downsample_type == config.upsample_type == "resnet"


def test_a_network_of_this_make_runs():
    torch.manual_seed(0)
    small = {"channels": (16, 32), "layers": 1, "head": 8, "groups": 8, "attention": (4,)}
    net = NETWORKS["adm-64"]((1, 8, 8), 3, **small)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 999.0])
    (net(x, t, None, {"label": torch.tensor([0, 2])}) - x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    text = NETWORKS["sd15"]((1, 8, 8), text=12, channels=(8, 16), layers=1, heads=2, groups=4, attention=(8,))
    assert text(x, t, None, {"text": torch.randn(2, 5, 12)}).shape == x.shape
