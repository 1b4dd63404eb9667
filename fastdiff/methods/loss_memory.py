"""The running second moment of a loss by the time at which it was taken."""

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from ..core.statistics import RunningStatistics

MIN_LOSSES_PER_BIN = 10  # losses in every bin, below which times are drawn evenly


class LossSecondMoments(RunningStatistics):
    """A running second moment of the loss in equal bins of the time, the same on every process.

    `record` adds up losses on its own process, `absorb` merges what all processes recorded into the moment.
    Only the moment and the number of losses are part of the state: nothing is pending once absorbed.

    Args:
        bins: number of bins that [0, t_max] is divided into.
        decay: of the moment in a bin, for each `absorb` that brings it losses.
    """

    def __init__(self, bins: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("moment", torch.zeros(bins, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(bins, dtype=torch.int64))
        # By bin, since the last absorb and on this process: the sum of squared losses, and their number.
        self.register_buffer("pending", torch.zeros(2, bins, dtype=torch.float64), persistent=False)

    def bin_probabilities(self, uniform_share: float) -> Tensor:
        """Return the probability of each bin (bins,): in proportion to the root of its moment, as absorbed.

        Args:
            uniform_share: part of the probability that is spread evenly; all of it until every bin has
                `TRUSTED` losses.
        """
        if self.count.min() < MIN_LOSSES_PER_BIN:
            return torch.full_like(self.moment, 1 / len(self.moment))
        root = self.moment.sqrt()
        return (1 - uniform_share) * root / root.sum() + uniform_share / len(root)

    def root(self, fraction: Tensor) -> Tensor:
        """Return the root of the moment (B,) at times `fraction` (B,) of t_max; 1 in a bin without losses.

        It is that of the batches absorbed so far: the same on every process, and in every part of a batch.
        """
        root = torch.where(self.count > 0, self.moment.sqrt().clamp(min=1e-12), 1.0)
        return root[self.bin_of(fraction)]

    def bin_of(self, fraction: Tensor) -> Tensor:
        """Return the bin (B,) of times `fraction` (B,) of t_max."""
        return (fraction * len(self.moment)).long().clamp(0, len(self.moment) - 1)

    @torch.no_grad()
    def record(self, loss: Tensor, fraction: Tensor) -> None:
        """Add up a batch's losses, of which those that are not finite are left out.

        Args:
            loss: of each example (B,).
            fraction: their times (B,) as fractions of t_max.
        """
        known = loss.isfinite()  # one bad example would be remembered for ever
        loss = loss[known]
        bins = self.bin_of(fraction[known])
        total, seen = self.pending
        total.index_add_(0, bins, loss.double().square())
        seen.index_add_(0, bins, torch.ones_like(loss, dtype=torch.float64))

    @override
    @torch.no_grad()
    def absorb(self, reduce: Callable[[Tensor], Tensor]) -> None:
        sums = reduce(self.pending)
        self.moment.copy_(self.blended(sums))
        self.count.add_(sums[1].long())
        self.pending.zero_()

    def blended(self, sums: Tensor) -> Tensor:
        """Return the moment (bins,) after sums (2, bins) of squared losses and of their number."""
        total, seen = sums
        fresh = total / seen.clamp(min=1)
        weight = self.decay * (self.count > 0).to(self.moment)
        return torch.where(seen > 0, weight * self.moment + (1 - weight) * fresh, self.moment)
