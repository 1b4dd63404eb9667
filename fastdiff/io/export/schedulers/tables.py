"""The choice of a table of betas: the schedule's own, or one that is built from the grid's times."""

from ....core.denoiser import Denoiser
from ...diffusers_names import LCM_NAMES, variance_preserving
from .description import DiffusersScheduler, Grids, NoMatchingSchedulerError, Options
from .made_table import made_table
from .own_table import own_table


def table_scheduler(model: Denoiser, name: str, options: Options, grids: Grids) -> DiffusersScheduler:
    """Return a scheduler on the schedule's own table, or, if the grids do not lie on it, on a new table.

    Args:
        model: the model to export.
        name: its sampler.
        options: options of the sampler.
        grids: number of steps -> times of the grid.

    Raises:
        NoMatchingSchedulerError: if alpha^2 + sigma^2 is not 1, or neither table fits.
    """
    if not variance_preserving(model.schedule):
        raise NoMatchingSchedulerError(
            f"diffusers has no scheduler for the sampler {model.sampling.sampler} on {model.schedule}"
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
