"""Closed-form teachers: the exact denoiser of a Gaussian mixture, and of a finite set of points."""

import torch
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.network import Network
from ..core.schedule import Schedule


class PosteriorMean(Network):
    """The network that computes the mean E[x0 | x_t] for x0 ~ sum_k weights_k N(means_k, stds_k^2 I).

    Args:
        means: means (K, *shape) of the components.
        stds: standard deviations (K,) of the components.
        weights: weights (K,) of the components, above 0; need not sum to 1.
        schedule: schedule of the times.
    """

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.register_buffer("means", means)
        self.register_buffer("stds", stds)
        self.register_buffer("log_weights", (weights / weights.sum()).log())

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        alpha, sigma = (c[:, None] for c in self.schedule.alpha_sigma(t))  # (B, 1)
        means, stds = self.means.to(x.dtype), self.stds.to(x.dtype)
        variance = ((alpha * stds) ** 2 + sigma**2).clamp(min=torch.finfo(x.dtype).tiny)  # (B, K)
        error = x[:, None] - like(alpha, x[:, None]) * means  # (B, K, *shape)
        dims = means[0].numel()
        log_posterior = (
            self.log_weights - error.flatten(2).square().sum(2) / (2 * variance) - dims / 2 * variance.log()
        )
        posterior = like(log_posterior.softmax(1), error)
        return (posterior * (means + like(alpha * stds**2 / variance, error) * error)).sum(1)


class GaussianMixture(Denoiser):
    """The exact denoiser of a Gaussian mixture.

    Args:
        means: means (K, *shape) of the components.
        stds: standard deviations (K,) of the components.
        weights: weights (K,) of the components, above 0; need not sum to 1.
        schedule: schedule of the times.
    """

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor, schedule: Schedule) -> None:
        net = PosteriorMean(means, stds, weights, schedule)
        super().__init__(net, schedule, "x0", shape=tuple(means.shape[1:]), time_input="time")


class Points(GaussianMixture):
    """The exact denoiser of a finite data set.

    Args:
        data: points (K, *shape) of the data set, all equally likely.
        schedule: schedule of the times.
    """

    def __init__(self, data: Tensor, schedule: Schedule) -> None:
        super().__init__(
            data, torch.zeros(len(data), dtype=data.dtype), torch.ones(len(data), dtype=data.dtype), schedule
        )
