"""Running statistics of a training, summed over all processes."""

from collections.abc import Callable

from torch import Tensor, nn


class RunningStatistics(nn.Module):
    """Statistics that a loss records on its process and the training loop merges; a base class.

    A loss only records. The loop calls `absorb` after each update, so that losses do not communicate and
    the parts of an accumulated batch count together.
    """

    def absorb(self, reduce: Callable[[Tensor], Tensor]) -> None:
        """Merge the values recorded since the last call.

        Args:
            reduce: function that returns the sum of a tensor over all processes.
        """
        raise NotImplementedError
