"""Running moments of a figure as a function of time, such as the second moment of a loss."""

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from ..core.statistics import RunningStatistics

MIN_LOSSES_PER_BIN = 10  # number of losses in every bin below which times are uniform


class RunningMoments(RunningStatistics):
    """A running moment of a figure in equal bins of the time, the same on every process.

    `record` adds up values on one process; `absorb` merges the sums of all processes into the moment. The
    state consists of the moment and the number of values, as there are no pending sums after `absorb`.

    Args:
        bins: number of bins into which [0, t_max] is divided.
        decay: decay of the moment in a bin, in [0, 1], per `absorb` with new values in that bin.
        power: order of the moment: 1 for the mean, 2 for the mean square.
    """

    def __init__(self, bins: int, decay: float, power: int = 1) -> None:
        super().__init__()
        self.decay = decay
        self.power = power
        self.register_buffer("moment", torch.zeros(bins, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(bins, dtype=torch.int64))
        # By bin, since the last absorb and on this process: the sum of the powers, and their number.
        self.register_buffer("pending", torch.zeros(2, bins, dtype=torch.float64), persistent=False)

    def at(self, fraction: Tensor) -> Tensor:
        """Return the absorbed moment (B,) at times (B,); 1 in a bin without values.

        It is the same on every process and in every part of a batch.

        Args:
            fraction: times (B,) as fractions of t_max.
        """
        return torch.where(self.count > 0, self.moment, 1.0)[self.bin_of(fraction)]

    def bin_of(self, fraction: Tensor) -> Tensor:
        """Return the numbers (B,) of the bins of times (B,), given as fractions of t_max."""
        return (fraction * len(self.moment)).long().clamp(0, len(self.moment) - 1)

    @torch.no_grad()
    def record(self, value: Tensor, fraction: Tensor) -> None:
        """Add a batch's finite values to the pending sums.

        Args:
            value: values (B,) of the examples.
            fraction: times (B,) of the examples as fractions of t_max.
        """
        known = value.isfinite()  # one bad example would stay in the moment for ever
        value = value[known]
        bins = self.bin_of(fraction[known])
        total, seen = self.pending
        total.index_add_(0, bins, value.double() ** self.power)
        seen.index_add_(0, bins, torch.ones_like(value, dtype=torch.float64))

    @override
    @torch.no_grad()
    def absorb(self, reduce: Callable[[Tensor], Tensor]) -> None:
        sums = reduce(self.pending)
        self.moment.copy_(self.blended(sums))
        self.count.add_(sums[1].long())
        self.pending.zero_()

    def blended(self, sums: Tensor) -> Tensor:
        """Return the new moment (bins,), given sums (2, bins) of powers and of their number."""
        total, seen = sums
        fresh = total / seen.clamp(min=1)
        weight = self.decay * (self.count > 0).to(self.moment)
        return torch.where(seen > 0, weight * self.moment + (1 - weight) * fresh, self.moment)


class LossSecondMoments(RunningMoments):
    """The running second moment of a loss by the time, for importance sampling.

    Args:
        bins: number of bins into which [0, t_max] is divided.
        decay: decay of the moment in a bin, in [0, 1], per `absorb` with new losses in that bin.
    """

    def __init__(self, bins: int, decay: float) -> None:
        super().__init__(bins, decay, power=2)

    def bin_probabilities(self, uniform_share: float) -> Tensor:
        """Return the probability (bins,) of each bin, proportional to the root of its absorbed moment.

        Args:
            uniform_share: fraction of the probability that is uniform, 0 to 1; all of it until every bin has
                MIN_LOSSES_PER_BIN losses.
        """
        if self.count.min() < MIN_LOSSES_PER_BIN:
            return torch.full_like(self.moment, 1 / len(self.moment))
        root = self.moment.sqrt()
        return (1 - uniform_share) * root / root.sum() + uniform_share / len(root)
