"""The passes of a consistency pair: the identity at the data, and one dropout mask."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Flow
from fastdiff.methods.base import Uniform
from fastdiff.methods.cd import CD
from fastdiff.methods.ect import ECT
from fastdiff.networks import MLP
from tests.helpers.consistency import IN_TIME
from tests.helpers.oracles import (
    PARAMETERISATIONS,
    POINT,
    START,
    batch_of,
    constant,
    named,
)


@pytest.mark.parametrize(("schedule", "predicts"), [p for p in PARAMETERISATIONS if p[1] != "x0"], **named)
def test_the_student_is_the_identity_at_time_zero(schedule, predicts):
    torch.manual_seed(0)
    net = MLP(2, 16, 1)
    nn.init.normal_(net.last.weight)
    x, zero = torch.randn(4, 2), torch.zeros(4, dtype=torch.float64)
    model = Denoiser(net, schedule, predicts, (2,))
    torch.testing.assert_close(model(x, zero, zero).x0, x)
    assert not torch.allclose(model(x, zero + schedule.t_max / 2, zero).x0, x)


def test_both_passes_share_their_dropout_mask(monkeypatch):
    """With s next to t the passes can only differ by their masks,
    and the loss weighs any difference by a billion."""

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)).double()

        def forward(self, x, t, s=None, cond=None):
            return self.layers(x)

    torch.manual_seed(0)
    monkeypatch.setattr(ECT, "gap", lambda self, progress: 1e-9)
    student = Denoiser(Dropping(), Flow(), "velocity", (2,), time_input="time").train()
    x0, t = torch.randn(64, 2, dtype=torch.float64), torch.full((64,), 0.5, dtype=torch.float64)
    assert not torch.equal(student(x0, t).x0, student(x0, t).x0)
    before = torch.random.get_rng_state()
    teacher = constant(POINT, Flow(), "velocity")
    for method in (ECT(**IN_TIME), CD(times=Uniform(), **IN_TIME)):
        torch.random.set_rng_state(before)
        loss, _ = method.loss(("student",), {"student": student, "teacher": teacher}, batch_of(x0), START)
        assert loss < 1e-3
        assert not torch.equal(torch.random.get_rng_state(), before)  # and the next pair gets another mask
