"""LCM and TCD schedulers on a table of betas that is built from a grid's times."""

from dataclasses import replace

import torch
from torch import Tensor

from ....core.denoiser import Denoiser
from ....core.prediction import TIME_INPUTS
from ....core.schedule import Schedule
from ....samplers.few_step import below
from .description import NOISE_OPTIONS, DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .own_table import bare_table

FALL_ENTRIES = 8  # additional entries at alpha^2 = 1/4, 1/16, ...: a beta close to 1 is inexact in float32


def made_table(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return an LCM or TCD scheduler whose timesteps are the times of the grids and of their jumps.

    Entry 0 of its table is clean data.

    Args:
        model: the model to export.
        name: its sampler.
        options: options of the sampler.
        grids: number of steps -> times of the grid.

    Raises:
        NoMatchingSchedulerError: for a sampler or a network's output that these schedulers do not take.
    """
    schedule = model.schedule
    if name not in ("consistency", "ddim", "gamma", "overshoot") or float(options.get("eta", 0)):
        raise NoMatchingSchedulerError(
            f"diffusers has no scheduler for the sampler {model.sampling.sampler} on this grid"
        )
    targets = {n: landings(schedule, name, options, times).double() for n, times in grids.items()}
    levels = entry_times(schedule, grids, targets)
    alpha = schedule.alpha_sigma(levels)[0]
    table = bare_table(model)
    config = {
        **table.config,
        "num_train_timesteps": len(levels),
        "original_inference_steps": len(levels),
        "trained_betas": [0.0, *(1 - (alpha[1:] / alpha[:-1]).square()).tolist()],
    }
    network_times = TIME_INPUTS[model.time_input](levels, schedule).tolist()
    table = replace(
        table,
        config=config,
        set_timesteps="timesteps=grids[steps]",
        grids={n: places(levels, times[:-1]) for n, times in grids.items()},
        times=[round(time, 9) for time in network_times],
    )
    if name == "consistency":
        config = {**config, "timestep_scaling": 1e4}
        return replace(table, config=config, landing="data", step_options=NOISE_OPTIONS)
    etas = {}
    for n, target in targets.items():
        nexts = places(levels, grids[n][1:])
        etas[n] = [tcd_eta(s, u) for s, u in zip(nexts, places(levels, target))]
    return replace(
        table, class_name="TCDScheduler", landing="eta", step_options=("eta=eta", *NOISE_OPTIONS), etas=etas
    )


def landings(schedule: Schedule, name: str, options: Options, times: Tensor) -> Tensor:
    """Return the times that a sampler's steps jump to before they add noise; empty if that is always 0."""
    if name == "consistency":
        return torch.zeros(0)
    if name == "gamma":
        return below(schedule, times[1:], float(options.get("gamma", 0)))
    if name == "overshoot":
        return torch.cat([times[2:], times[-1:]])
    return times[1:]


def entry_times(schedule: Schedule, grids: Grids, targets: Grids) -> Tensor:
    """Return the times of a table's entries: those of the grids and jumps, and FALL_ENTRIES more."""
    falls = schedule.time_of((4 ** torch.arange(1, FALL_ENTRIES + 1, dtype=torch.float64) - 1).sqrt())
    first = max(float(times[0]) for times in grids.values())
    return torch.cat([*grids.values(), *targets.values(), falls[falls < first]]).unique()


def places(levels: Tensor, times: Tensor) -> list[int]:
    """Return the indices of some times in a table with the sorted times `levels`."""
    return torch.searchsorted(levels, times).tolist()


def tcd_eta(s: int, u: int) -> float:
    """Return TCD's eta, for which floor((1 - eta) s) is u, with a margin of half an entry."""
    return 1 - (u + 0.5) / s if u < s else 0.0
