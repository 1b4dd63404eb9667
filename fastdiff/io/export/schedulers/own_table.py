"""DDIM, DDPM, LCM and TCD on the training timesteps of a variance-preserving schedule."""

from dataclasses import replace
from math import gcd

import torch

from ....core.denoiser import Denoiser
from ...diffusers_names import DIFFUSERS_NAMES, LCM_NAMES, table_betas, table_config
from .description import NOISE_OPTIONS, DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .network import allclose, network_clock, network_input, output_factor


def bare_table(model: Denoiser) -> DiffusersScheduler:
    """Return an LCMScheduler without table and grid: what all schedulers on a table share for this model.

    Raises:
        NoMatchingSchedulerError: if no scheduler on a table takes what the network predicts.
    """
    factors = {theirs: output_factor(model, ours) for ours, theirs in DIFFUSERS_NAMES.items()}
    fitting = {theirs: factor for theirs, factor in factors.items() if factor}
    if model.predicts in LCM_NAMES:
        fitting = {LCM_NAMES[model.predicts]: 1.0}
    if not fitting:
        raise NoMatchingSchedulerError(
            f"no scheduler of diffusers takes what this network predicts, {model.predicts}, on "
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
    """Return DDIM, DDPM, LCM or TCD on the schedule's timesteps: entry i is t = i + 1 of `timesteps`.

    Args:
        model: the model to export.
        name: its sampler, ddim, ddpm or consistency.
        options: the sampler's.
        grids: the times to step through, by the number of steps.

    Raises:
        NoMatchingSchedulerError: if the grids do not lie on the timesteps, or none of the four fits.
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
    if name == "ddpm" or name == "ddim" and (equal or eta):
        if not equal or options.get("variance", "small") != "small":
            raise NoMatchingSchedulerError(
                f"the {name.upper()}Scheduler of diffusers takes equal strides of {count} timesteps, and the "
                "small variance"
            )
        return strided(table, name, eta)
    if not all(allclose(at, at.round()) and at.min() > 0.5 for at in entries.values()):
        raise NoMatchingSchedulerError(f"the LCMScheduler of diffusers knows {count} timesteps alone")
    table = on_entries(table, count, {n: at.round().long().tolist() for n, at in entries.items()})
    if name == "ddim":
        return tcd(table, table_betas(schedule))
    least = min(float(at.min()) for at in entries.values())
    # the boundary condition of 10 is x0 to 1e-6 from 50 on
    scaling = 10.0 if model.predicts in LCM_NAMES or least >= 50 else 1e4
    config = {**table.config, "timestep_scaling": scaling}
    return replace(table, config=config, landing="data", step_options=NOISE_OPTIONS)


def strided(table: DiffusersScheduler, name: str, eta: float) -> DiffusersScheduler:
    """Return DDIM or DDPM in equal strides; with eta DDIM draws noise."""
    step_options = NOISE_OPTIONS if name == "ddpm" else ()
    if eta:
        step_options = (f"eta={eta:g}", *NOISE_OPTIONS)
    config = {**table.config, "timestep_spacing": "trailing"}
    return replace(table, class_name=f"{name.upper()}Scheduler", config=config, step_options=step_options)


def on_entries(table: DiffusersScheduler, count: int, entries: dict[int, list[int]]) -> DiffusersScheduler:
    """Return the table with these grids of entries: by its own rule if that finds them, else as lists."""
    points = striding(count, entries)
    config = {**table.config, "original_inference_steps": points or count}
    if points:
        return replace(table, config=config)
    return replace(table, config=config, set_timesteps="timesteps=grids[steps]", grids=entries)


def tcd(table: DiffusersScheduler, betas: list[float]) -> DiffusersScheduler:
    """Return TCD with eta 0, which is DDIM: its last step goes to entry 0, which has to be clean data."""
    first, second, *others = betas
    config = {
        **table.config,
        "trained_betas": [0.0, first + second - first * second, *others],
        "rescale_betas_zero_snr": False,
    }
    return replace(table, class_name="TCDScheduler", config=config, step_options=("eta=0.0",))


def striding(count: int, grids: dict[int, list[int]]) -> int | None:
    """Return the original_inference_steps with which LCMScheduler and TCDScheduler find these entries.

    None if their rule finds them with none.
    """
    stride = gcd(*(entry + 1 for entries in grids.values() for entry in entries))
    for points in (count, count // stride):
        if all(n <= points and strided_entries(count, points, n) == grid for n, grid in grids.items()):
            return points
    return None


def strided_entries(count: int, points: int, steps: int) -> list[int]:
    """Return the timesteps of an LCMScheduler with this original_inference_steps."""
    import diffusers

    scheduler = diffusers.LCMScheduler(count, original_inference_steps=points)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps.tolist()
