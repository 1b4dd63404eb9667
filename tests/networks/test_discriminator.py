"""Discriminators: the modules of a network whose features they take, and those with their own trunk."""

import pytest
import torch

import fastdiff
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.methods.add import LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.networks import dit, mlp, unet
from fastdiff.networks.discriminator import (
    ENCODER,
    Discriminator,
    DiscriminatorHeads,
    capture_features,
    discriminator_on,
    expanded,
    middle,
)
from tests.helpers import tiny_pipelines
from tests.helpers.adversaries import SEEN, points


@pytest.mark.parametrize(
    ("net", "shape", "names", "widths"),
    [
        (mlp((2,), width=16), (2,), ("first", "blocks.1"), [16, 16]),
        (
            unet((1, 8, 8), channels=(8, 16), layers=1),
            (1, 8, 8),
            ("module.down_blocks.0", "module.mid_block"),
            [8, 16],
        ),
        (
            dit((1, 8, 8), width=32, depth=2, heads=4),
            (1, 8, 8),
            ("module.transformer_blocks.0", "module.transformer_blocks.1"),
            [32, 32],
        ),
    ],
    ids=["mlp", "unet", "dit"],
)
def test_a_critic_takes_modules_by_their_names(net, shape, names, widths):
    model = Denoiser(net, Cosine(), "v", shape)
    discriminator, x = discriminator_on(model, names, 8), torch.randn(3, *shape, requires_grad=True)
    t = torch.full((3,), 0.3, dtype=torch.float64)
    (features,) = Adversary(features=names).extract_features(model, [x], [t], None)
    assert (
        [feature.shape[-1] for feature in features]
        == widths
        == [head[0].normalized_shape[0] for head in discriminator.heads]
    )
    logits = discriminator(features)
    logits.sum().backward()
    assert logits.shape == (3, 2) and x.grad.abs().max() > 0
    (features,) = Adversary(features=()).extract_features(model, [x], [t], None)
    assert discriminator_on(model, (), 8)(features).shape == (3, 1)  # the middle one
    with pytest.raises(
        FastdiffError, match=f"'nowhere' is not a module of {type(net).__name__}: choose from"
    ) as caught:
        discriminator_on(model, ("nowhere",), 8)
    assert "\n" not in str(caught.value) and not net._forward_hooks


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (mlp((2,), width=16, depth=5), ["module.blocks.0", "module.blocks.1", "module.blocks.2"]),
        (mlp((2,), width=16, depth=1), ["module.blocks.0"]),
        (
            unet((1, 8, 8), channels=(8, 16), layers=1),
            ["module.down_blocks.0", "module.down_blocks.1", "module.mid_block"],
        ),
        (
            dit((1, 8, 8), width=32, depth=8, heads=4),
            [f"module.transformer_blocks.{i}" for i in (0, 2, 4)],
        ),
    ],
    ids=["mlp", "short mlp", "unet", "dit"],
)
def test_the_encoder_is_every_level_of_a_unet_and_a_few_blocks_of_the_first_half_of_a_stack(net, expected):
    assert list(expanded(net, (ENCODER,))) == expected and Adversary().features == (ENCODER,)
    assert expanded(net, ("x", ENCODER, expected[0])) == ("x", *expected)
    shape = (2,) if "blocks" in expected[0].split(".") and len(expected[0]) < 17 else (1, 8, 8)
    model = Denoiser(net, Cosine(), "v", shape)
    assert len(Adversary().new_discriminator(model).heads) == len(expected)


def test_a_network_without_known_blocks_has_no_encoder():
    with pytest.raises(FastdiffError, match="the middle of Linear is unknown: name its modules"):
        expanded(torch.nn.Linear(1, 1), (ENCODER,))


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_critic_takes_the_image_of_two_streams(kind, tmp_path):
    """The middle block of SD3 and Flux puts out text and image."""
    tiny_pipelines.alive(getattr(tiny_pipelines, kind)(tmp_path / "parts")).save_pretrained(
        tmp_path / "pipeline"
    )
    model = fastdiff.load(tmp_path / "pipeline")
    shape, t = (4, 8, 8), torch.full((2,), 0.5, dtype=torch.float64)
    seen = []
    for x in (torch.zeros(2, *shape), torch.randn(2, *shape)):
        with capture_features(model) as found, torch.no_grad():
            model(x, t, t, None)
        seen += found
    assert middle(model.net) == "module.transformer_blocks.0"
    assert seen[0].shape == (2, 16, 16) and (seen[0] - seen[1]).abs().max() > 1e-3
    assert discriminator_on(model, (), 8)(found).shape == (2, 1)


def test_samples_are_judged_among_their_own_kind():
    """Together two kinds could be like the data, and neither of them so."""
    discriminator, feature, kind = (
        DiscriminatorHeads([4], 8, kinds=3),
        torch.randn(6, 5, 4),
        torch.tensor([0, 2, 1, 1, 0, 2]),
    )
    every = torch.stack([discriminator([feature], torch.full((6,), k)) for k in range(3)])
    assert (
        torch.equal(discriminator([feature], kind), every[kind, torch.arange(6)])
        and (every[0] != every[1]).all()
    )
    assert (
        LADD(steps=(1, 2, 4), gan=SEEN)
        .trainable_networks(points(), points())["discriminator"]
        .heads[0][-1]
        .out_features
        == 4
    )


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 32, 20), (2, 5, 1)], ids=str)
def test_a_critic_with_a_trunk_of_its_own_sees_samples_and_classes(shape):
    torch.manual_seed(0)
    discriminator, x = Discriminator(shape, 3, hidden=16), torch.randn(4, *shape, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    logits = discriminator([x], {"label": labels})
    assert logits.shape == (4, 1) and not torch.allclose(logits, discriminator([x], {"label": 0 * labels}))
    logits.sum().backward()
    assert (x.grad.flatten(1) != 0).all()  # every pixel counts
    assert Discriminator(shape, hidden=16)([x]).shape == (4, 1)


def test_a_critic_with_a_trunk_does_without_labels():
    x = torch.randn(4, 2)
    assert Discriminator((2,), classes=3, hidden=16)([x]).shape == (4, 1)
