"""The memory of a loss by the time: a running second moment, equal on all processes."""

import pytest
import torch

from fastdiff.methods.base import Importance
from fastdiff.methods.loss_memory import MIN_LOSSES_PER_BIN, LossSecondMoments, RunningMoments


def alone(sums):
    """The sum over all processes, of which there is one."""
    return sums


def test_the_memory_is_a_running_mean_that_first_forgets_nothing():
    memory = Importance(bins=2, decay=0.9).loss_moments()
    memory.record(torch.tensor([1.0, 3.0]), torch.tensor([0.1, 0.2]))
    memory.absorb(alone)
    assert memory.moment.tolist() == [5.0, 0.0] and memory.count.tolist() == [2, 0]
    memory.record(torch.tensor([2.0, 7.0]), torch.tensor([0.1, 1.0]))
    memory.absorb(alone)
    assert memory.moment.tolist() == pytest.approx([0.9 * 5 + 0.1 * 4, 49.0], rel=1e-15)


def test_what_is_recorded_counts_once_it_is_absorbed_whatever_the_parts_and_processes():
    torch.manual_seed(0)
    loss, share = torch.rand(2, 64).double()
    whole, parts, former = (LossSecondMoments(4, 0.9) for _ in range(3))
    for memory in (whole, parts, former):
        memory.record(loss, share)
        memory.absorb(alone)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    assert list(state) == ["moment", "count"]
    whole.record(2 * loss, share)
    for part in range(2):
        parts.record(2 * loss[part::2], share[part::2])
    for memory in (whole, parts):  # nothing that is drawn or saved changes before the update
        assert all(torch.equal(memory.state_dict()[name], value) for name, value in state.items())
        assert torch.equal(memory.bin_probabilities(0.1), former.bin_probabilities(0.1))
        memory.absorb(alone)
        memory.absorb(alone)  # there is nothing more
    torch.testing.assert_close(parts.moment, whole.moment)
    assert torch.equal(parts.count, whole.count) and (whole.moment > former.moment).all()
    halves = [LossSecondMoments(4, 0.9) for _ in range(2)]
    for memory in halves:
        memory.load_state_dict(state)
    for part, memory in enumerate(halves):
        memory.record(2 * loss[part::2], share[part::2])
    total = halves[0].pending + halves[1].pending
    for memory in halves:
        memory.absorb(lambda sums: total)
        torch.testing.assert_close(memory.moment, whole.moment)
        assert torch.equal(memory.count, whole.count)


@pytest.mark.parametrize("power", [1, 2])
def test_a_moment_is_that_of_the_batches_absorbed_and_one_where_there_are_none(power):
    torch.manual_seed(0)
    memory, moment = RunningMoments(4, 0.9, power), None
    share = (torch.arange(24) % 3 + 0.5).double() / 4  # the last bin stays empty
    for _ in range(3):
        before = torch.ones(3).double() if moment is None else moment
        value = torch.rand(24).double()
        memory.record(value, share)
        torch.testing.assert_close(memory.at(share), before.repeat(8), rtol=1e-12, atol=0)
        memory.absorb(alone)
        fresh = (value**power).reshape(8, 3).mean(0)
        moment = fresh if moment is None else 0.9 * moment + (1 - 0.9) * fresh
    torch.testing.assert_close(memory.at(share), moment.repeat(8), rtol=1e-12, atol=0)
    assert float(memory.at(torch.tensor([0.9]))) == 1


def test_a_bad_loss_is_not_remembered_by_importance():
    memory = Importance(bins=2).loss_moments()
    memory.record(torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([0.1, 0.2, 0.9]))
    memory.absorb(lambda sums: sums)
    assert memory.moment.tolist() == [1.0, 4.0] and memory.count.tolist() == [1, 1]


def test_shares_follow_the_roots_once_every_bin_has_enough_losses():
    memory = LossSecondMoments(2, 0.9)
    losses = torch.tensor([1.0, 3.0])
    memory.record(
        losses.repeat(MIN_LOSSES_PER_BIN - 1), torch.tensor([0.0, 1.0]).repeat(MIN_LOSSES_PER_BIN - 1)
    )
    memory.absorb(alone)
    assert memory.bin_probabilities(0.2).tolist() == [0.5, 0.5]
    memory.record(losses, torch.tensor([0.49, 0.5]))
    memory.absorb(alone)
    expected = pytest.approx([0.8 / 4 + 0.1, 0.8 * 3 / 4 + 0.1], rel=1e-12)
    assert memory.bin_probabilities(0.2).tolist() == expected
