"""Knowledge distillation (Luhman & Luhman 2021): one step makes of stored noise what the teacher's solver made of it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..data.registry import Batch
from .base import Distance, Method, SquaredL2, bare, per_sample


@dataclass
class KD(Method):
    """Regression at t_max alone, so that the student is sampled in one step and no other."""

    distance: Distance = SquaredL2()

    paired: ClassVar[bool] = True

    def loss(self, turn, nets, batch, progress):
        eps, schedule = noise_of(batch, "kd"), bare(nets["student"]).schedule
        t = torch.full((len(eps),), schedule.t_max, dtype=torch.float64, device=eps.device)
        f = nets["student"](schedule.alpha_sigma(t[0])[1] * eps, t, torch.zeros_like(t), batch.cond).x0
        return self.distance(f, batch.x0).mean(), {
            "error": per_sample((f - batch.x0).detach().square()).mean().sqrt()
        }

    def sampling(self):
        return Sampling("ddim", "uniform", (1,), only=True)


def noise_of(batch: Batch, name: str) -> Tensor:
    """The noise that a batch of pairs was made from."""
    if batch.eps is None:
        raise FastdiffError(
            f"method {name} learns from stored pairs of noise and sample, and these data have no noise: "
            "make a stage with pairs and name it as data"
        )
    return batch.eps
