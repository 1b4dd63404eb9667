"""A model on a schedule that differs from its network's own."""

from dataclasses import replace
from math import floor

import torch
from torch import Tensor
from typing_extensions import override

from .denoiser import Denoiser
from .errors import FastdiffError
from .prediction import ratio_of
from .sampling import DATA
from .schedule import Schedule

END_TOLERANCE = 1e-5  # fraction of t_max by which a matched time may exceed it and still count as t_max


class RescheduledDenoiser(Denoiser):
    """A model on another schedule, evaluated at the time where its network's own sigma / alpha is the same.

    x differs from the network's own x by a factor, so both contain the same x0 and eps (Karras et al. 2022,
    section 2).

    Args:
        model: the model on its own schedule; its weights are shared.
        schedule: the other schedule.

    Raises:
        FastdiffError: if called at more noise than at the network's own t_max, where it was never trained.
    """

    def __init__(self, model: Denoiser, schedule: Schedule) -> None:
        super().__init__(
            model.net,
            schedule,
            model.predicts,
            model.shape,
            model.time_input,
            model.sigma_data,
            True,
            model.two_times,
            replace(model.sampling, times=(), end=DATA),  # both are of its own schedule
            model.guidance,
            model.latent,
            model.text,
            model.base,
        )
        self._models = (model,)  # in a tuple: not a second submodule, but copied with this model
        self.train(model.training)
        top = torch.tensor(schedule.t_max, dtype=torch.float64)
        self.outreaches = bool(
            model.schedule.time_of(ratio_of(schedule, top)) > model.schedule.t_max * (1 + END_TOLERANCE)
        )

    @property
    def model(self) -> Denoiser:
        """The model on its own schedule."""
        return self._models[0]

    @override
    def with_schedule(self, schedule: Schedule) -> Denoiser:
        return self.model.with_schedule(schedule)

    def own_time(self, t: Tensor) -> Tensor:
        """Return the time of equal sigma / alpha on the network's own schedule."""
        own = self.model.schedule
        u = own.time_of(ratio_of(self.schedule, t))
        # Only a schedule with more noise than the network's own waits for the device here.
        if self.outreaches and (u > own.t_max * (1 + END_TOLERANCE)).any():
            raise FastdiffError(self.refusal(t.max()))
        return u.clamp(0, own.t_max)

    def refusal(self, t: Tensor) -> str:
        """Return the error for a time t with more noise than the network was trained for."""
        last = ratio_of(self.model.schedule, torch.tensor(self.model.schedule.t_max, dtype=torch.float64))
        start = floor(float(self.schedule.time_of(last)) / self.schedule.t_max * 1e4) / 1e4
        ratio = float(ratio_of(self.schedule, t))
        return (
            f"t = {float(t):.6g} of {self.schedule} has sigma / alpha = {ratio:.4g}, more than the "
            f"{float(last):.4g} where this network's own schedule ends: start the grid there "
            f"(start={start:g}), or choose a schedule that ends no later"
        )

    @override
    def output_coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.output_coefficients(self.own_time(t))

    @override
    def preconditioning(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = self.own_time(t)
        alpha, sigma = self.schedule.alpha_sigma(t)
        own_alpha, own_sigma = self.model.schedule.alpha_sigma(u)
        scale, network_time = self.model.preconditioning(u)
        return scale * own_alpha.hypot(own_sigma) / alpha.hypot(sigma), network_time
