"""A model on another schedule than its network's own."""

from dataclasses import replace
from math import floor

import torch
from torch import Tensor
from typing_extensions import override

from .denoiser import Denoiser
from .errors import FastdiffError
from .prediction import ratio_of
from .schedule import Schedule

BEYOND = 1e-5  # of t_max: how far past its end a matched time still counts as the end


class RescheduledDenoiser(Denoiser):
    """A model on another schedule, evaluated at the time where its network's own sigma / alpha is the same.

    x differs from the network's own x by a factor, so both hold one x0 and one eps (Karras et al. 2022,
    section 2).

    Args:
        model: the model on its own schedule; its weights are shared.
        schedule: the other schedule.

    Raises:
        FastdiffError: when called at more noise than at the network's own t_max, where it was never trained.
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
            replace(model.sampling, times=()),
            model.guidance,
            model.latent,
            model.text,
            model.base,
        )
        self._models = (model,)  # in a tuple: no second submodule, but copied along with this one
        self.train(model.training)
        top = torch.tensor(schedule.t_max, dtype=torch.float64)
        self.outreaches = bool(
            model.schedule.time_of(ratio_of(schedule, top)) > model.schedule.t_max * (1 + BEYOND)
        )

    @property
    def model(self) -> Denoiser:
        """The model on its own schedule."""
        return self._models[0]

    @override
    def on(self, schedule: Schedule) -> Denoiser:
        return self.model.on(schedule)

    def own_time(self, t: Tensor) -> Tensor:
        """Return the time of equal sigma / alpha on the network's own schedule."""
        own = self.model.schedule
        u = own.time_of(ratio_of(self.schedule, t))
        # Only a schedule that outreaches the other waits for the device here.
        if self.outreaches and (u > own.t_max * (1 + BEYOND)).any():
            raise FastdiffError(self.refusal(t.max()))
        return u.clamp(0, own.t_max)

    def refusal(self, t: Tensor) -> str:
        """Return why there is no prediction at t, and from where on there is."""
        last = ratio_of(self.model.schedule, torch.tensor(self.model.schedule.t_max, dtype=torch.float64))
        start = floor(float(self.schedule.time_of(last)) / self.schedule.t_max * 1e4) / 1e4
        asked = float(ratio_of(self.schedule, t))
        return (
            f"t = {float(t):.6g} of {self.schedule} has sigma / alpha = {asked:.4g}, more than the "
            f"{float(last):.4g} where this network's own schedule ends: start the grid there "
            f"(start={start:g}), or choose a schedule that ends no later"
        )

    @override
    def row(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.row(self.own_time(t))

    @override
    def entrance(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = self.own_time(t)
        alpha, sigma = self.schedule.alpha_sigma(t)
        own_alpha, own_sigma = self.model.schedule.alpha_sigma(u)
        scale, clock = self.model.entrance(u)
        return scale * own_alpha.hypot(own_sigma) / alpha.hypot(sigma), clock
