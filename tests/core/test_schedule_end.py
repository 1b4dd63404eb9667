"""Schedules that end above the data."""

import torch

from fastdiff.core.sampling import DATA
from fastdiff.core.schedule import DDPM
from fastdiff.core.schedule_end import NoisyEnd, with_end


def test_only_time_0_has_the_other_level():
    inner = DDPM()
    ended = with_end(inner, (0.99, 0.1))
    times = torch.tensor([1000.0, 20.0, 0.0], dtype=torch.float64)
    assert ended.levels(times)[:2] == inner.levels(times)[:2] and ended.levels(times)[2] == (0.99, 0.1)
    assert ended.timesteps == inner.timesteps and ended.t_max == inner.t_max
    ratio = torch.tensor(1.5, dtype=torch.float64)
    assert ended.time_of(ratio) == inner.time_of(ratio)
    assert torch.equal(torch.stack(ended.rates(times[:2])), torch.stack(inner.rates(times[:2])))


def test_an_end_at_data_changes_nothing():
    inner = DDPM()
    assert with_end(inner, DATA) is inner and isinstance(with_end(inner, (1.0, 0.03)), NoisyEnd)
