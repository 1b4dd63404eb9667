"""Beta tables of discrete schedules, by the names that recipes and diffusers use."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def cosine_betas(count: int) -> Tensor:
    """Return the betas (count,) of alpha^2 = cos^2((t + 0.008) / 1.008 pi / 2), at most 0.999.

    Nichol & Dhariwal 2021, equation 17.
    """
    fall = ((torch.linspace(0, 1, count + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (1 - fall[1:] / fall[:-1]).clamp(max=0.999)


# Functions (number of entries, beta_start, beta_end) -> betas in float64, by the kind of table.
BETAS: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": lambda count, start, end: torch.linspace(start, end, count, dtype=torch.float64),
    # latent diffusion (Rombach et al. 2022)
    "scaled_linear": lambda count, start, end: (
        torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    ),
    "cosine": lambda count, start, end: cosine_betas(count),
    # GeoDiff, for molecules (Xu et al. 2022)
    "sigmoid": lambda count, start, end: (
        torch.linspace(-6, 6, count, dtype=torch.float64).sigmoid() * (end - start) + start
    ),
}


def with_zero_terminal_snr(alpha: Tensor) -> Tensor:
    """Return a table of alpha shifted and scaled so that its last entry is 0 and its first is unchanged.

    Lin et al. 2023, algorithm 1.
    """
    return (alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))
