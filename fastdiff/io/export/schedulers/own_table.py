"""The DDIM, DDPM, LCM and TCD schedulers on the training timesteps of a variance-preserving schedule."""

from dataclasses import replace
from math import gcd

import torch

from ....core.denoiser import Denoiser
from ....core.validation import spelled
from ...diffusers_names import DIFFUSERS_NAMES, LCM_NAMES, table_betas, table_config
from .description import NOISE_OPTIONS, DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .network import allclose, network_clock, network_input, output_factor


def bare_table(model: Denoiser) -> DiffusersScheduler:
    """Return an LCMScheduler without table and grid: the settings that all table schedulers share.

    Raises:
        NoMatchingSchedulerError: if no table scheduler takes the network's prediction.
    """
    factors = {kind: output_factor(model, row) for row, kind in DIFFUSERS_NAMES.items()}
    fitting = {kind: factor for kind, factor in factors.items() if factor}
    if model.predicts in LCM_NAMES:
        fitting = {LCM_NAMES[model.predicts]: 1.0}
    if not fitting:
        raise NoMatchingSchedulerError(
            f"no scheduler of diffusers takes this network's prediction, {model.predicts}, on "
            f"{model.schedule}"
        )
    [(prediction_type, factor)] = fitting.items()
    return DiffusersScheduler(
        "LCMScheduler",
        {"prediction_type": prediction_type, "steps_offset": 1},
        "steps",
        "(1 - scheduler.alphas_cumprod[scheduler.timesteps[0]]) ** 0.5",
        network_input=network_input(model),
        output_factor=factor,
    )


def own_table(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return a DDIM, DDPM, LCM or TCD scheduler on the schedule's timesteps.

    Entry i of its table is the time (i + 1) / timesteps.

    Args:
        model: the model to export.
        name: its sampler: ddim, ddpm or consistency.
        options: options of the sampler.
        grids: number of steps -> times of the grid.

    Raises:
        NoMatchingSchedulerError: if the grids do not lie on the timesteps, or no scheduler fits.
    """
    schedule = model.schedule
    count = schedule.timesteps
    entries = {n: times[:-1] * count / schedule.t_max - 1 for n, times in grids.items()}
    strides = {n: count - 1 - torch.arange(n) * (count // n) for n in grids}
    equal = all(count % n == 0 and allclose(at, strides[n]) for n, at in entries.items())
    table = bare_table(model)
    clock, end = network_clock(model, lambda t: count * t / schedule.t_max - 1)
    config = {
        **table.config,
        "num_train_timesteps": count,
        **table_config(schedule),
        "clip_sample": False,
    }
    table = replace(table, config=config, clock=clock, end=end)
    eta = float(options.get("eta", 0))
    own = spelled(model.sampling.spacing, "spacing") if not model.sampling.times else ("", {})
    leading = own[0] == "leading" and set(own[1]) <= {"offset"}
    if name == "ddpm" or name == "ddim" and (equal or leading or eta):
        if not (equal or leading) or options.get("variance", "small") != "small":
            raise NoMatchingSchedulerError(
                f"the {name.upper()}Scheduler of diffusers takes equal strides of {count} timesteps, and the "
                "small variance"
            )
        table = strided(table, name, eta)
        if equal:
            return table
        offset = int(own[1].get("offset", 0))
        spacing = {"timestep_spacing": "leading", "steps_offset": offset}
        return replace(table, config=table.config | spacing)
    if not all(allclose(at, at.round()) and at.min() > 0.5 for at in entries.values()):
        raise NoMatchingSchedulerError(
            f"the LCMScheduler of diffusers takes only the schedule's {count} timesteps"
        )
    table = on_entries(table, count, {n: at.round().long().tolist() for n, at in entries.items()})
    if name == "ddim":
        return tcd(table, table_betas(schedule))
    least = min(float(at.min()) for at in entries.values())
    # from timestep 50 on, LCM's boundary condition with a scaling of 10 gives x0 to 1e-6
    scaling = 10.0 if model.predicts in LCM_NAMES or least >= 50 else 1e4
    config = {**table.config, "timestep_scaling": scaling}
    return replace(table, config=config, landing="data", step_options=NOISE_OPTIONS)


def strided(table: DiffusersScheduler, name: str, eta: float) -> DiffusersScheduler:
    """Return a DDIM or DDPM scheduler with equal strides; DDIM draws noise if eta is not 0."""
    step_options = NOISE_OPTIONS if name == "ddpm" else ()
    if eta:
        step_options = (f"eta={eta:g}", *NOISE_OPTIONS)
    config = {**table.config, "timestep_spacing": "trailing"}
    return replace(table, class_name=f"{name.upper()}Scheduler", config=config, step_options=step_options)


def on_entries(table: DiffusersScheduler, count: int, entries: dict[int, list[int]]) -> DiffusersScheduler:
    """Return the scheduler with grids of table entries: by its own rule if that gives them, or as lists."""
    points = striding(count, entries)
    config = {**table.config, "original_inference_steps": points or count}
    if points:
        return replace(table, config=config)
    return replace(table, config=config, set_timesteps="timesteps=grids[steps]", grids=entries)


def tcd(table: DiffusersScheduler, betas: list[float]) -> DiffusersScheduler:
    """Return a TCD scheduler with eta 0, which equals DDIM.

    Its last step goes to entry 0, which therefore has to be clean data.
    """
    first, second, *others = betas
    config = {
        **table.config,
        "trained_betas": [0.0, first + second - first * second, *others],
        "rescale_betas_zero_snr": False,
    }
    return replace(table, class_name="TCDScheduler", config=config, step_options=("eta=0.0",))


def striding(count: int, grids: dict[int, list[int]]) -> int | None:
    """Return the original_inference_steps for which LCMScheduler and TCDScheduler choose these entries.

    None if there is no such number.
    """
    stride = gcd(*(entry + 1 for entries in grids.values() for entry in entries))
    for points in (count, count // stride):
        if all(n <= points and strided_entries(count, points, n) == grid for n, grid in grids.items()):
            return points
    return None


def strided_entries(count: int, points: int, steps: int) -> list[int]:
    """Return the timesteps that an LCMScheduler with original_inference_steps = `points` chooses."""
    import diffusers

    scheduler = diffusers.LCMScheduler(count, original_inference_steps=points)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps.tolist()
