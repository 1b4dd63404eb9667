"""Denoising score matching and flow matching (Ho et al. 2020, Lipman et al. 2023): how teachers are trained."""

from dataclasses import dataclass

import torch

from ..denoiser import Sampling
from .base import Law, Method, Uniform, bare, per_sample


@dataclass
class Denoising(Method):
    """Mean squared error of the network's own output. label_dropout: share of examples that learn the null class."""

    times: Law = Uniform()
    label_dropout: float = 0.1

    def extras(self, student, teacher):
        memory = self.times.memory()
        return {} if memory is None else {"memory": memory}

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        t, weight = self.times.draw(batch.rng, model.schedule, nets.get("memory"))
        eps = batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        x = model.schedule.mix(batch.x0, eps, t)
        p = nets["student"](x, t, t, self.dropped(model, batch))
        error = per_sample(model.target(p.x0 - batch.x0, p.eps - eps, t).square())
        if weight is None:
            return error.mean(), {}
        nets["memory"].record(error.detach(), t / model.schedule.t_max)
        return (weight * error).mean(), {"unweighted": error.mean()}

    def dropped(self, model, batch):
        """Labels with some replaced by the null class, whose number is that of the classes."""
        null = getattr(model.net, "null_label", None)
        if batch.cond is None or null is None:
            return None
        drop = batch.rng.uniform() < self.label_dropout
        return batch.cond | {"label": torch.where(drop, null, batch.cond["label"])}

    def sampling(self):
        return Sampling("ddim", "uniform", (50,))
