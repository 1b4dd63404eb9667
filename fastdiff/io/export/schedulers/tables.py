"""The choice of a table of betas: a schedule's own, or one made of the grid's times."""

from ....core.denoiser import Denoiser
from ...diffusers_names import LCM_NAMES, variance_preserving
from .description import DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .made_table import made_table
from .own_table import own_table


def table_scheduler(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return a scheduler on the schedule's own table if the grids lie on it, else on one made of their times.

    Args:
        model: the model to export.
        name: its sampler.
        options: the sampler's.
        grids: the times to step through, by the number of steps.

    Raises:
        NoMatchingSchedulerError: if alpha^2 + sigma^2 is not 1, or neither table fits.
    """
    if not variance_preserving(model.schedule):
        raise NoMatchingSchedulerError(
            f"no scheduler of diffusers samples by {model.sampling.sampler} on {model.schedule}"
        )
    if name == "gamma" and not float(options.get("gamma", 0)):
        name = "ddim"
        options = {}
    if name in ("ddim", "ddpm", "consistency"):
        try:
            return own_table(model, name, options, grids)
        except NoMatchingSchedulerError:
            if model.predicts in LCM_NAMES or name == "ddpm":
                raise
    return made_table(model, name, options, grids)
