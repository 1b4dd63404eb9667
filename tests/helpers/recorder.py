"""A network that records what it is asked, on every schedule and for every prediction."""

import pytest
import torch
from torch import nn

from fastdiff.core.prediction import PREDICTION_TYPES
from fastdiff.core.schedule import SCHEDULES, Trig

SCHEDULE_CASES = [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.5)]


schedules = pytest.mark.parametrize("schedule", SCHEDULE_CASES, ids=repr)


predictions = pytest.mark.parametrize("predicts", list(PREDICTION_TYPES))


class Recorder(nn.Module):
    """Keeps what it was called with; answers with its scale times the input."""

    def __init__(self, dtype=torch.float32, channels=1):
        super().__init__()
        self.scale, self.channels = nn.Parameter(torch.ones((), dtype=dtype)), channels

    def forward(self, x, t, s=None, cond=None):
        self.seen = x, t, s, cond
        return torch.cat([x * self.scale] * self.channels, 1)


def pair(shape=(5, 3, 4, 5)):
    return torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
