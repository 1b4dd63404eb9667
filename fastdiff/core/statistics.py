"""Statistics of a training that all processes share."""

from collections.abc import Callable

from torch import Tensor, nn


class RunningStatistics(nn.Module):
    """Base class of statistics that a loss records on its own process, and that the training loop merges.

    A loss only records; the loop calls `absorb` after each update, so that no loss communicates and the parts
    of an accumulated batch count together.
    """

    def absorb(self, reduce: Callable[[Tensor], Tensor]) -> None:
        """Take in what was recorded since the last call.

        Args:
            reduce: returns the sum of a tensor over all processes.
        """
        raise NotImplementedError
