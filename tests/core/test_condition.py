"""Conditions: a network reads the keys that it takes, and a missing key counts as no condition."""

import torch

from fastdiff.core.condition import PROMPT_KEYS
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.networks import mlp

X, T = torch.linspace(-1, 1, 6).view(3, 2), torch.full((3,), 0.5)


def test_a_network_of_classes_ignores_prompts_and_reads_labels():
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), 4), Cosine(), "v", (2,))
    torch.nn.init.normal_(model.net.last.weight)
    label = {"label": torch.tensor([0, 1, 3])}
    prompt = {key: torch.ones(3, 5, 7) for key in PROMPT_KEYS}
    by_class = model(X, T, T, label).x0
    assert torch.equal(model(X, T, T, label | prompt).x0, by_class)
    null = model(X, T, T, {"label": torch.full((3,), 4)}).x0
    assert torch.equal(model(X, T, T, None).x0, null) and torch.equal(model(X, T, T, prompt).x0, null)
    assert not torch.allclose(null, by_class)
