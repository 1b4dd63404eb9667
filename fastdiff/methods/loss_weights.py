"""The weights of losses in x0 by noise level (Salimans & Ho 2022, section 4)."""

from typing import Literal

import torch
from torch import Tensor

from ..core.schedule import Schedule

SNRWeight = Literal["truncated_snr", "snr_plus_1"]
LevelWeight = Literal["none", "truncated_snr", "snr_plus_1"]


def snr_weight(name: LevelWeight, schedule: Schedule, t: Tensor, degree: int = 2) -> Tensor:
    """Return the weight (B,) of a distance in x0 at times t (B,).

    With SNR = alpha^2 / sigma^2 a squared distance has the weight max(SNR, 1) or SNR + 1, and a distance of
    first degree its root. SNR + 1 makes the squared error in x0 the error in v of a variance-preserving
    schedule.

    Args:
        name: none for a weight of 1, truncated_snr for max(SNR, 1), or snr_plus_1.
        schedule: noise schedule of the times.
        t: times (B,) above 0 of the samples from which x0 is predicted.
        degree: power of the error with which the distance grows, see Distance.degree.
    """
    if name == "none":
        return torch.ones_like(t)
    alpha, sigma = schedule.alpha_sigma(t)
    snr = (alpha / sigma).square()
    weight = snr.clamp(min=1) if name == "truncated_snr" else snr + 1
    return weight if degree == 2 else weight.sqrt()
