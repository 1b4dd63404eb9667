"""The residual MLP: it sees the time and starts at zero."""

import torch

from fastdiff.networks import mlp


def test_mlp_sees_the_time_and_starts_at_zero():
    net = mlp((5,), width=16, depth=2)
    x = torch.randn(3, 5)
    assert torch.equal(net(x, torch.zeros(3)), net.last.bias.expand(3, 5)) and net.null_label is None
    assert net.module is net and len(net.blocks) == 2
    torch.nn.init.normal_(net.last.weight)
    apart = [net(x, torch.full((3,), t)) for t in (0.0, 1.0, 500.0, 501.0)]
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(apart) for b in apart[:i])
