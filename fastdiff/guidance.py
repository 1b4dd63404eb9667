"""Guided: a denoiser with condition, guidance and clipping settled, counting the evaluations that samplers make."""

import torch
from torch import Tensor

from .denoiser import Cond, Denoiser, Prediction
from .errors import FastdiffError
from .schedule import Schedule, like


class Guided:
    """What a sampler calls: denoise(x, t, s) -> Prediction.

    cond, null: conditions of the two branches of classifier-free guidance (Ho & Salimans 2022).
    guidance: 1 is none; x0 = null + guidance (cond - null). clip: bound of |x0|, None for none.
    nfe: network evaluations so far; a guided step counts 2.
    """

    def __init__(self, model: Denoiser, cond: Cond = None, null: Cond = None, guidance: float = 1.0,
                 clip: float | None = None):
        self.model, self.cond, self.null, self.guidance, self.clip = model, cond, null, guidance, clip
        self.nfe = 0
        if guidance != 1.0 and (cond is None or null is None):
            raise FastdiffError(f"guidance = {guidance} needs both a condition and a null condition")

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        p = self.evaluate(x, t, s)
        return self.from_x0(x, p.x0.clamp(-self.clip, self.clip), t, p.extra) if self.clip else p

    def evaluate(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        if self.guidance == 1.0:
            self.nfe += 1
            return self.model(x, t, s, self.cond)
        self.nfe += 2
        both = {k: torch.cat([self.cond[k], self.null[k]]) for k in self.cond}
        p = self.model(torch.cat([x, x]), t, s, both)
        given, null = p.x0.chunk(2)
        extra = p.extra.chunk(2)[0] if p.extra is not None else None
        return self.from_x0(x, torch.lerp(null, given, self.guidance), t, extra)

    def from_x0(self, x: Tensor, x0: Tensor, t: Tensor, extra: Tensor | None = None) -> Prediction:
        """A changed x0 with the eps that keeps x = alpha x0 + sigma eps."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return Prediction(x, x0, lambda: (x - like(alpha, x) * x0) / like(sigma, x), extra)
