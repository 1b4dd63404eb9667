"""Likelihood: bits per dimension of data under a model, through its probability-flow ODE (Song et al. 2021, appendix D).

The ODE is walked on the circle u = atan(sigma / alpha), z = x / sqrt(alpha^2 + sigma^2) = cos u x0 + sin u
eps, where dz/du = cos u eps - sin u x0 on every schedule, and d log p(z) / du = -div dz/du: nothing is
singular at alpha = 0.
"""

import math

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.schedule import DDPM
from .adaptive import DORMAND_PRINCE, SHORTEST, total


def nll(
    model: Denoiser,
    x0: Tensor,
    *,
    cond: Cond = None,
    levels: int | None = None,
    probes: int = 1,
    exact: bool = False,
    ratio_min: float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    seed: int = 0,
    indices: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of data x0 (B, ...) in bits per dimension, (B,).

    levels: of images in [-1, 1], 256 for 8 bits: uniform noise of one level is added, and the bits are those of the
        discrete image (an upper bound). None: the bits of a density, as x0 is.
    probes: Rademacher directions of the trace, the same all along the path (Skilling-Hutchinson, unbiased). exact: all
        dimensions instead, as many backward passes an evaluation.
    ratio_min: sigma / alpha at the data's end: the density is that of data with so much noise. None: 0.001, or the first
        entry of a table (ddpm: 0.01), below which its model knows nothing.
    rtol, atol: error of a step, controlled for each sample by itself. indices: numbers of the samples (B,), 0, 1, ... where
        not given: what is drawn for one follows from the seed and its number.
    Where the schedule ends before alpha = 0, what is left is one step: some (std alpha / sigma)^2 off where the data's
    dimensions differ much in spread, and less than the N(0, sigma^2) of the paper, which forgets their mean.
    """
    if ratio_min is None:
        first = torch.tensor(1.0, dtype=torch.float64)
        ratio_min = float(ratio_of(model.schedule, first)) if isinstance(model.schedule, DDPM) else 1e-3
    check(model, levels, probes, ratio_min)
    rng, shape = (
        SampleRng(seed, torch.arange(len(x0)) if indices is None else indices, x0.device),
        x0.shape[1:],
    )
    dims, offset = math.prod(shape), 0.0
    if levels is not None:
        level = 2 / (levels - 1)
        x0, offset = x0 + level * (torch.special.ndtr(rng.normal(shape)).to(x0) - 0.5), -math.log2(level)
    if exact:
        along = (
            torch.eye(dims, dtype=x0.dtype, device=x0.device).reshape(dims, 1, *shape).expand(dims, *x0.shape)
        )
    else:
        along = torch.stack([rng.normal(shape).sign().to(x0) for _ in range(probes)])
    field = Field(model, cond, along, 1 if exact else 1 / probes)
    low, high = math.atan(ratio_min), field.end
    row = torch.cat([math.cos(low) * x0.flatten(1), x0.new_zeros(len(x0), 1)], 1)
    row, slope = walk(field, row, low, high, rtol, atol)
    # What is left to u = pi/2, where z is standard normal: d(z / sin u) / d(cot u) = x0, whose slope in z
    # falls linearly to 0: half of the slope found at the end, as the mean of all dimensions, in eps and in
    # the volume.
    cos, sin = math.cos(high), math.sin(high)
    half = cos * (cos - sin * slope[:, -1]) / 2
    eps = sin * row[:, :-1] + cos * slope[:, :-1] + half[:, None] * row[:, :-1] / sin
    log_p = (
        row[:, -1] - (eps.square() + math.log(2 * math.pi)).mean(1) / 2 - half + math.log(math.cos(low) / sin)
    )
    return offset - log_p / math.log(2)


def check(model: Denoiser, levels: int | None, probes: int, ratio_min: float) -> None:
    """Refuse what cannot be walked."""
    end = torch.tensor(model.schedule.t_max, dtype=torch.float64)
    (alpha, sigma), (a, b) = model.schedule.alpha_sigma(end), model.row(end)
    for wrong, line in (
        (
            levels is not None and levels < 2,
            f"levels = {levels}: expected at least 2, or None for data that has none",
        ),
        (probes < 1, f"probes = {probes}: expected at least 1"),
        (
            not 0 < ratio_min < sigma / alpha,
            f"ratio_min = {ratio_min}: expected sigma / alpha above 0 and below the schedule's last",
        ),
        (
            not 0 < (alpha * b - sigma * a).abs() < math.inf,
            f"nll: a model that predicts {model.predicts} says nothing at the end of its schedule, where alpha = {alpha:g}: "
            "it needs a model that predicts v, or x0",
        ),
    ):
        if wrong:
            raise FastdiffError(line)


class Field:
    """dz/du and its divergence per dimension, of rows (z, log-density per dimension) (B, D + 1) at u (B,)."""

    def __init__(self, model: Denoiser, cond: Cond, along: Tensor, share: float) -> None:
        self.model, self.cond, self.along, self.share = model, cond, along, share
        alpha, sigma = model.schedule.alpha_sigma(torch.tensor(model.schedule.t_max, dtype=torch.float64))
        self.end = math.atan2(sigma, alpha)

    def __call__(self, row: Tensor, u: Tensor) -> Tensor:
        schedule, shape = self.model.schedule, self.along.shape[1:]
        t = schedule.time_of(u.tan()).clamp(max=schedule.t_max)
        alpha, sigma = schedule.alpha_sigma(t)
        with torch.enable_grad():
            z = row[:, :-1].reshape(shape).detach().requires_grad_()
            x0, eps = self.model(like((alpha**2 + sigma**2).sqrt(), z) * z, t, t, self.cond)
            slope = like(u.cos(), z) * eps - like(u.sin(), z) * x0
            trace = sum(
                (v * torch.autograd.grad(slope, z, v, retain_graph=True)[0]).flatten(1).sum(1)
                for v in self.along
            )
        return torch.cat([slope.detach().flatten(1), trace[:, None] * (self.share / (row.shape[1] - 1))], 1)


def walk(
    field: Field, row: Tensor, low: float, high: float, rtol: float, atol: float
) -> tuple[Tensor, Tensor]:
    """Rows at high, and their slopes there: Dormand-Prince steps, each sample with steps of its own."""
    u = row.new_full((len(row),), low, dtype=torch.float64)
    step, slope, left = torch.full_like(u, low), field(row, u), high - low
    while left > 0:
        step, slopes = step.minimum(high - u), [slope]
        for weights in DORMAND_PRINCE.rows:
            there = row + like(step, row) * total(weights, slopes)
            slopes.append(field(there, u + step * sum(weights)))
        wrong = like(step, row) * total(DORMAND_PRINCE.error, slopes)
        wrong = wrong / (atol + rtol * torch.maximum(row.abs(), there.abs()))
        error = (
            wrong[:, :-1]
            .square()
            .mean(1)
            .sqrt()
            .maximum(wrong[:, -1].abs())
            .double()
            .nan_to_num(nan=math.inf)
        )
        kept = error <= 1
        row, slope = torch.where(kept[:, None], there, row), torch.where(kept[:, None], slopes[-1], slope)
        u = torch.where(kept, torch.where(step < high - u, u + step, high), u)
        step = step * (0.9 * error**-0.2).clamp(0.2, 5)
        left, shortest = torch.stack([high - u.min(), torch.where(u < high, step, math.inf).min()]).tolist()
        if not shortest > SHORTEST:
            raise FastdiffError(
                "nll: no step is short enough: the model's predictions are not finite, or rtol and atol are "
                "below its precision"
            )
    return row, slope
