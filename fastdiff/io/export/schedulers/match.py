"""The choice of the diffusers scheduler for a model, by the model's schedule and sampler."""

from collections.abc import Callable

from ....core.denoiser import Denoiser
from ....core.schedule import Flow, Karras, Schedule, Trig
from ....core.validation import spelled
from ....samplers import time_grid
from .description import DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .flow import flow_scheduler, trig_scheduler
from .karras import karras_scheduler
from .recorded import with_recorded
from .tables import table_scheduler

# (schedule, sampler) -> builder; all others get a table of betas.
BUILDERS: dict[tuple[type[Schedule], str], Callable[[Denoiser, str, Options, Grids], DiffusersScheduler]] = {
    (Flow, "ddim"): flow_scheduler,
    (Flow, "euler"): flow_scheduler,
    (Flow, "consistency"): flow_scheduler,
    (Trig, "consistency"): trig_scheduler,
    (Karras, "ddim"): karras_scheduler,
    (Karras, "euler"): karras_scheduler,
    (Karras, "consistency"): karras_scheduler,
}


def matching_scheduler(model: Denoiser) -> DiffusersScheduler | str:
    """Return the scheduler that takes the steps of the model's default sampler on its default grids.

    Args:
        model: the model to export.

    Returns:
        The scheduler, or one line with the reason why diffusers has no such scheduler.
    """
    import diffusers

    own = model.sampling
    name, options = spelled(own.sampler, "sampler")
    counts = {*own.steps, *(len(times) for times in own.times if not own.only)}
    grids = {n: time_grid(model.schedule, n, own.spacing_for(n)) for n in sorted(counts)}
    builder = BUILDERS.get((type(model.schedule), name), table_scheduler)
    try:
        scheduler = with_recorded(builder(model, name, options, grids), model)
    except NoMatchingSchedulerError as why:
        return str(why)
    if not hasattr(diffusers, scheduler.class_name):
        return f"diffusers {diffusers.__version__} has no {scheduler.class_name}"
    return scheduler
