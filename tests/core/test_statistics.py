"""Statistics that losses record: the training's base class says nothing of how they are merged."""

import pytest
import torch

from fastdiff.core.statistics import RunningStatistics


class Count(RunningStatistics):
    """The number of processes that recorded anything."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("pending", torch.ones(()), persistent=False)

    def absorb(self, reduce):
        self.total += reduce(self.pending)
        self.pending.zero_()


def test_what_is_merged_is_saved_and_what_is_pending_is_not():
    count = Count()
    count.absorb(lambda recorded: 3 * recorded)  # as by three processes
    count.absorb(lambda recorded: 3 * recorded)
    assert count.state_dict() == {"total": torch.tensor(3.0)}
    again = Count()
    again.load_state_dict(count.state_dict())
    assert (float(again.total), float(again.pending)) == (3.0, 1.0)


def test_statistics_without_a_rule_of_merging_are_an_error():
    with pytest.raises(NotImplementedError):
        RunningStatistics().absorb(lambda recorded: recorded)
