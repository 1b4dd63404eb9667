"""The dropout of conditions, which trains the predictions that classifier-free guidance subtracts."""

import torch
from torch import Tensor

from ..core.denoiser import Cond, Denoiser
from ..data.batch import Batch


def drop_labels(model: Denoiser, batch: Batch, share: float) -> tuple[Cond, Tensor | None]:
    """Replace the condition of random examples by the null class or the empty prompt.

    Args:
        model: the model that is trained.
        batch: the examples, whose random streams choose those that lose their condition.
        share: probability in [0, 1] with which an example loses it.

    Returns:
        The condition, and which examples (B,) lost theirs: None where none can, as `share` is 0, the examples
        have no labels or prompts, or the model has no null class.
    """
    cond = batch.cond or {}
    has_label = model.null_label is not None and "label" in cond
    if not share or not (has_label or "text" in cond):
        return batch.cond, None
    drop = batch.rng.uniform() < share
    null = model.null(cond)
    mixed = {name: torch.where(one_per_row(drop, value), value, cond[name]) for name, value in null.items()}
    return cond | mixed, drop


def one_per_row(mask: Tensor, value: Tensor) -> Tensor:
    """Return a mask (B,) with trailing axes that broadcast against a value (B, ...)."""
    return mask.reshape(-1, *[1] * (value.ndim - 1))
