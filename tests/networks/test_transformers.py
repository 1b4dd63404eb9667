"""Transformers of text and latents take a second time and a weight of guidance."""

import pytest
import torch

from tests.helpers.opened_pipelines import PROMPTS, noise


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "with_second_time") for name in ("sd3", "flux", "schnell", "alpha")),
        *((name, "with_guidance") for name in ("sd3", "schnell", "alpha")),
    ],
)
def test_transformers_take_a_second_time_and_a_weight(opened, name, what):
    _, model, _ = opened(name)
    net, x, t = model.net, noise(2, 4, 8, 8), torch.tensor([300.0, 700.0])
    cond, weak, strong = model.text.encode(PROMPTS), torch.tensor([1.0, 1.0]), torch.tensor([3.0, 5.0])
    guided = what == "with_guidance" or name == "flux"
    with torch.no_grad():
        more = getattr(net, what)()
        torch.testing.assert_close(more(x, t, t / 2, cond | {"guidance": weak}), net(x, t, t, cond))
        for p in more.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)), alpha=0.05)
        one, other = (
            more(x, t, t / 2, cond | {"guidance": weak}),
            more(x, t, t / 3, cond | {"guidance": weak}),
        )
        assert torch.allclose(one, other) == (what == "with_guidance")
        other = more(x, t, t / 2, cond | {"guidance": strong})
        assert torch.allclose(one, other) == (not guided)
        again = type(net).of(more.module, (4, 8, 8), guided)
        again.pixels = model.image_shape[1] // model.shape[1]
        assert torch.equal(again(x, t, t / 2, cond | {"guidance": weak}), one)
