"""The likelihood of data under a model in bits per dimension, by its probability-flow ODE.

The method is that of Song et al. 2021 (score SDEs, appendix D). The ODE is solved in u = atan(sigma / alpha)
for z = x / sqrt(alpha^2 + sigma^2) = cos u x0 + sin u eps, where on every schedule

    dz/du = cos u eps - sin u x0        d log p(z) / du = -div dz/du

and nothing is singular at alpha = 0.
"""

import math

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.defaults import float32_on_cpu
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError, checked_integer
from ..core.prediction import ratio_of
from ..core.public_arguments import takes_a_model
from ..core.rng import SampleRng
from ..core.schedule import DDPM
from .runge_kutta import DORMAND_PRINCE, ShortStepError, integrate

MAX_STEP_FACTOR = 5.0  # largest factor from one step size to the next


@takes_a_model
@float32_on_cpu()
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
    """Return the negative log-likelihood of data in bits per dimension (Song et al. 2021, score SDEs).

        bits = fastdiff.nll(model, images, levels=256, cond={"label": labels}).mean()

    If the schedule ends before alpha = 0, a single step covers the rest. Its error is of the order of
    (std alpha / sigma)^2 if the standard deviations of the data's dimensions differ much, and smaller than
    that of the paper's N(0, sigma^2), which ignores their mean.

    Args:
        model: the model, or what `sample` opens.
        x0: clean data (B, *shape); latents, for a model of latents.
        cond: condition with one row per sample, see `core.condition`.
        levels: number of levels of images in [-1, 1], 256 for 8 bits: uniform noise of one level is added,
            and the result is an upper bound of the bits of the discrete image. None for a density at x0.
        probes: number of Rademacher directions of the trace estimate, at least 1, which are constant along
            the path (Skilling-Hutchinson, unbiased).
        exact: use all dimensions instead of probes, with one backward pass per dimension.
        ratio_min: sigma / alpha at the end of the data: the density is that of data with this much noise.
            None for 0.001, or on a ddpm schedule for the first entry of its table (0.01), below which a model
            was not trained.
        rtol: error of a step relative to the state, controlled per sample.
        atol: absolute error of a step.
        seed: seed of the probes and of the noise of `levels`.
        indices: indices of the samples (B,), by default 0, 1, ...; the draws of a sample depend only on the
            seed and its index.

    Returns:
        The negative log-likelihood in bits per dimension (B,), of x0's dtype; any real number for a density.

    Raises:
        FastdiffError: for a value out of its range, a model whose output does not determine x0 and eps at the
            end of its schedule, and a tolerance that no step meets.
    """
    if ratio_min is None:
        first = torch.tensor(1.0, dtype=torch.float64)
        ratio_min = float(ratio_of(model.schedule, first)) if isinstance(model.schedule, DDPM) else 1e-3
    check_settings(model, x0, levels, probes, ratio_min)
    numbers = torch.arange(len(x0)) if indices is None else indices
    rng = SampleRng(seed, numbers, x0.device)
    offset = 0.0
    if levels is not None:
        level = 2 / (levels - 1)
        offset = -math.log2(level)
        x0 = x0 + level * (torch.special.ndtr(rng.normal(x0.shape[1:])).to(x0) - 0.5)
    directions = unit_vectors(x0) if exact else rademacher(x0, rng, probes)
    field = FlowField(model, cond, directions, 1 if exact else 1 / probes)
    low = math.atan(ratio_min)
    high = field.end
    z = torch.cat([math.cos(low) * x0.flatten(1), x0.new_zeros(len(x0), 1)], 1)
    z, slope = solve(field, z, low, high, rtol, atol)
    # The rest up to u = pi/2, where z is standard normal: d(z / sin u) / d(cot u) = x0. Its slope in z falls
    # linearly to 0: half of the slope at the end, as the mean over dimensions, enters eps and the volume.
    cos, sin = math.cos(high), math.sin(high)
    half = cos * (cos - sin * slope[:, -1]) / 2
    eps = sin * z[:, :-1] + cos * slope[:, :-1] + half[:, None] * z[:, :-1] / sin
    log_normal = (eps.square() + math.log(2 * math.pi)).mean(1) / 2
    log_p = z[:, -1] - log_normal - half + math.log(math.cos(low) / sin)
    return offset - log_p / math.log(2)


def check_settings(model: Denoiser, x0: Tensor, levels: int | None, probes: int, ratio_min: float) -> None:
    """Raise FastdiffError for settings out of their range and for a model that fails at the ODE's end."""
    if model.shape and tuple(x0.shape[1:]) != tuple(model.shape):
        raise FastdiffError(
            f"x0 of shape {tuple(x0.shape)}: expected (n, {', '.join(map(str, model.shape))})"
        )
    if levels is not None:
        checked_integer("levels", levels, 2, math.inf)
    checked_integer("probes", probes, 1, math.inf)
    end = torch.tensor(model.schedule.t_max, dtype=torch.float64)
    alpha, sigma = model.schedule.alpha_sigma(end)
    a, b = model.output_coefficients(end)
    if not 0 < ratio_min < sigma / alpha:
        raise FastdiffError(
            f"ratio_min = {ratio_min}: expected sigma / alpha above 0 and below the schedule's largest",
            key="ratio_min",
        )
    if not 0 < (alpha * b - sigma * a).abs() < math.inf:
        raise FastdiffError(
            f"nll: a model that predicts {model.predicts} does not determine x0 and eps at the end of its "
            f"schedule, where alpha = {alpha:g}: use a model that predicts v or x0"
        )


def unit_vectors(x0: Tensor) -> Tensor:
    """Return the unit vectors of all D dimensions for each sample of x0 (B, ...), as (D, B, ...)."""
    shape = x0.shape[1:]
    dims = math.prod(shape)
    identity = torch.eye(dims, dtype=x0.dtype, device=x0.device)
    return identity.reshape(dims, 1, *shape).expand(dims, *x0.shape)


def rademacher(x0: Tensor, rng: SampleRng, count: int) -> Tensor:
    """Return random directions of entries -1 and 1 for each sample of x0 (B, ...), as (count, B, ...)."""
    return torch.stack([rng.normal(x0.shape[1:]).sign().to(x0) for _ in range(count)])


class FlowField:
    """The slope dz/du and its divergence per dimension, as a function of (z, u).

    z is (B, D + 1), with the log-density per dimension as its last column; u is (B,).

    Args:
        model: the model.
        cond: condition with one row per sample.
        directions: directions of the trace estimate (N, B, ...).
        weight: weight of each direction's term in the trace.
    """

    def __init__(self, model: Denoiser, cond: Cond, directions: Tensor, weight: float) -> None:
        self.model = model
        self.cond = cond
        self.directions = directions
        self.weight = weight
        t_max = torch.tensor(model.schedule.t_max, dtype=torch.float64)
        alpha, sigma = model.schedule.alpha_sigma(t_max)
        self.end = math.atan2(sigma, alpha)

    def __call__(self, z: Tensor, u: Tensor) -> tuple[Tensor]:
        """Return dz/du (B, D + 1) at z (B, D + 1) and u (B,)."""
        schedule = self.model.schedule
        dims = z.shape[1] - 1
        t = schedule.time_of(u.tan()).clamp(max=schedule.t_max)
        alpha, sigma = schedule.alpha_sigma(t)
        with torch.enable_grad():
            point = z[:, :-1].reshape(self.directions.shape[1:]).detach().requires_grad_()
            x0, eps = self.model(like((alpha**2 + sigma**2).sqrt(), point) * point, t, t, self.cond)
            slope = like(u.cos(), point) * eps - like(u.sin(), point) * x0
            trace = sum(self.directional(slope, point, v) for v in self.directions)
        return (torch.cat([slope.detach().flatten(1), trace[:, None] * (self.weight / dims)], 1),)

    @staticmethod
    def directional(slope: Tensor, point: Tensor, v: Tensor) -> Tensor:
        """Return v^T (d slope / d point) v per sample, (B,)."""
        return (v * torch.autograd.grad(slope, point, v, retain_graph=True)[0]).flatten(1).sum(1)


def solve(
    field: FlowField, z: Tensor, low: float, high: float, rtol: float, atol: float
) -> tuple[Tensor, Tensor]:
    """Solve the ODE from u = low to high by Dormand-Prince steps; return z and its slope at high."""
    rounds = integrate(
        field,
        z,
        low,
        high,
        DORMAND_PRINCE,
        rtol=rtol,
        atol=atol,
        first_step=low,
        growth=MAX_STEP_FACTOR,
        norm=error_norm,
    )
    try:
        for front in rounds:
            reached = front
    except ShortStepError:
        raise FastdiffError(
            "nll: no step is short enough: the model's predictions are not finite, or rtol and atol are "
            "below its precision"
        ) from None
    return reached.z, reached.values[0]


def error_norm(error: Tensor) -> Tensor:
    """Return the larger of the root mean square error of z and the error of the log-density, (B,).

    An error that is not a number becomes inf, so that the step is repeated with a shorter size.
    """
    of_z = error[:, :-1].square().mean(1).sqrt()
    return of_z.maximum(error[:, -1].abs()).double().nan_to_num(nan=math.inf)
