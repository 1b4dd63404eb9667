"""The schedulers of flow matching: Euler's method, flow maps, and sCM on the trigonometric schedule."""

from dataclasses import replace

from ....core.denoiser import Denoiser
from ....core.schedule import Schedule
from ....samplers.time_grids import falling
from .description import NOISE_OPTIONS, DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .network import allclose, network_clock, network_input, output_factor
from .tables import table_scheduler


def flow_scheduler(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return the scheduler for Euler steps of flow matching, or for jumps to the data with fresh noise.

    Args:
        model: the model to export, on Flow.
        name: its sampler: ddim, euler or consistency.
        options: options of the sampler.
        grids: number of steps -> times of the grid.

    Raises:
        NoMatchingSchedulerError: for a shifted schedule, and for a network that does not predict a velocity.
    """
    if model.schedule.shift != 1:
        raise NoMatchingSchedulerError(
            "the flow schedulers of diffusers call the network with the shifted time"
        )
    factor = output_factor(model, "velocity")
    if not factor or options:
        raise NoMatchingSchedulerError(
            f"the flow schedulers of diffusers take a velocity, and ddim, euler or consistency, not "
            f"{model.predicts} and {model.sampling.sampler}"
        )
    clock, end = network_clock(model, lambda t: 1000 * t)
    words, listed = grid_in_words(model.schedule, grids)
    euler = DiffusersScheduler(
        "FlowMatchEulerDiscreteScheduler",
        {},
        f"sigmas={words}",
        "scheduler.sigmas[0]",
        clock,
        end,
        network_input=network_input(model),
        output_factor=factor,
        grids=listed,
    )
    if name == "consistency":
        return replace(
            euler, config={"stochastic_sampling": True}, landing="data", step_options=NOISE_OPTIONS
        )
    if model.two_times:
        return replace(euler, class_name="FlowMapEulerDiscreteScheduler")
    return euler


def trig_scheduler(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return the scheduler for sCM's jumps to the data with fresh noise (Lu & Song 2025).

    For a network that does not predict a velocity it is a scheduler on a table of betas.

    Args:
        model: the model to export, on Trig.
        name: its sampler, consistency.
        options: options of the sampler.
        grids: number of steps -> times of the grid.

    Raises:
        NoMatchingSchedulerError: if the network's time or input is not the scheduler's.
    """
    factor = output_factor(model, "velocity")
    if not factor:
        return table_scheduler(model, name, options, grids)
    words, listed = grid_in_words(model.schedule, grids)
    clock, end = network_clock(model, lambda t: t)
    return DiffusersScheduler(
        "SCMScheduler",
        {"sigma_data": model.schedule.sigma_data},
        f"steps, timesteps=[*{words}, 0.0], max_timesteps=None, intermediate_timesteps=None",
        "scheduler.config.sigma_data * scheduler.timesteps[0].sin()",
        clock,
        end,
        timesteps="scheduler.timesteps[:-1]",
        landing="data",
        network_input=network_input(model),
        output_factor=factor,
        step_options=NOISE_OPTIONS,
        grids=listed,
    )


def grid_in_words(schedule: Schedule, grids: Grids) -> tuple[str, dict[int, list[float]]]:
    """Return the grid of `steps` steps without its last 0, as Python source, and the lists that it uses."""
    if all(allclose(times, schedule.t_max * falling(n)) for n, times in grids.items()):
        top = "" if schedule.t_max == 1 else f"{schedule.t_max:.15g} * "
        return f"[{top}(1 - i / steps) for i in range(steps)]", {}
    return "grids[steps]", {n: times[:-1].tolist() for n, times in grids.items()}
