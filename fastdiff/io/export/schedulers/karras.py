"""The schedulers on EDM's noise levels: EDM's Euler method, and consistency models."""

import torch
from torch import Tensor

from ....core.denoiser import Denoiser
from .description import NOISE_OPTIONS, DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .network import allclose, network_clock, output_factor

RHO = 7.0  # exponent of the grid of Karras et al. 2022, equation 5
SIGMA_MIN = 0.002
# Points of a consistency scheduler's grid: as published (Song et al. 2023), and fine enough for any level.
RAMP_POINTS = (40, 10**6 + 1)


def karras_scheduler(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return the scheduler for EDM's Euler steps, or for a consistency model's jumps to the data.

    Args:
        model: the model to export, on Karras.
        name: its sampler: ddim, euler or consistency.
        options: options of the sampler.
        grids: number of steps -> noise levels of the grid.

    Raises:
        NoMatchingSchedulerError: for another prediction, and for a grid that the scheduler does not take.
    """
    if not (model.predicts == "cm" and name == "consistency") and output_factor(model, "edm") != 1:
        raise NoMatchingSchedulerError(
            f"the schedulers of diffusers take an EDM network or a consistency model on {model.schedule}, "
            f"not {model.predicts} and {name}"
        )
    top = max(float(times[0]) for times in grids.values())
    config = {"sigma_data": model.sigma_data, "sigma_max": top, "rho": RHO}
    if name == "consistency":
        return consistency_model(model, config, grids, top)
    return edm_euler(model, config, grids, top)


def edm_euler(model: Denoiser, config: dict[str, float], grids: Grids, top: float) -> DiffusersScheduler:
    """Return EDMEulerScheduler, which starts from the noise level `top`."""
    places = {n: ramp_places(times[:-1], SIGMA_MIN, top) for n, times in grids.items()}
    equal = all(allclose(at, torch.linspace(0, 1, n, dtype=torch.float64)) for n, at in places.items())
    clock, end = network_clock(model, lambda t: t.log() / 4)
    return DiffusersScheduler(
        "EDMEulerScheduler",
        {**config, "sigma_min": SIGMA_MIN},
        "steps" if equal else "steps, sigmas=torch.tensor(grids[steps], dtype=torch.float64)",
        "scheduler.sigmas[0]",
        clock,
        end,
        network_input=scaled_input(model),
        grids={} if equal else {n: at.tolist() for n, at in places.items()},
    )


def consistency_model(
    model: Denoiser, config: dict[str, float], grids: Grids, top: float
) -> DiffusersScheduler:
    """Return CMStochasticIterativeScheduler, which starts from the noise level `top`."""
    low = SIGMA_MIN if model.predicts == "cm" else 0.0
    places = {n: ramp_places(times[:-1], low, top) for n, times in grids.items()}
    published, fine = RAMP_POINTS
    points = published if on_ramp(places, published) else fine
    clock, end = network_clock(model, lambda t: 250 * t.log())
    return DiffusersScheduler(
        "CMStochasticIterativeScheduler",
        {**config, "sigma_min": low, "num_train_timesteps": points, "clip_denoised": False},
        "timesteps=grids[steps]",
        "scheduler.sigmas[0]",
        clock,
        end,
        landing="data",
        network_input=scaled_input(model),
        step_options=NOISE_OPTIONS,
        grids={n: (at * (points - 1)).round().long().tolist()[::-1] for n, at in places.items()},
    )


def scaled_input(model: Denoiser) -> str:
    """Return the network's input as Python source: x, scaled by the scheduler if the model scales it."""
    return "scheduler.scale_model_input(x, t)" if model.scale_input else "x"


def on_ramp(places: Grids, points: int) -> bool:
    """Return whether all positions lie on a grid of equally spaced points in [0, 1]."""
    positions = [at * (points - 1) for at in places.values()]
    return all(allclose(position, position.round()) for position in positions)


def ramp_places(sigma: Tensor, low: float, top: float) -> Tensor:
    """Return the positions of noise levels on Karras' grid, from 0 at `top` to 1 at `low`."""
    first = top ** (1 / RHO)
    last = low ** (1 / RHO)
    return (first - sigma ** (1 / RHO)) / (first - last)
