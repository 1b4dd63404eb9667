"""A teacher's prediction under classifier-free guidance, and a step of Heun's method."""

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import Prediction
from ..core.schedule import Schedule


def guided(
    model: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond, weight: float | Tensor
) -> Prediction:
    """Return a model's (x0, eps) under classifier-free guidance, null + weight (cond - null) of each.

    Args:
        model: the model, which is evaluated twice, or once if the weight is 1.
        x: noised samples (B, ...).
        t: times (B,) of the samples.
        s: times (B,) that the caller jumps to.
        cond: condition, with a label or a text unless the weight is 1.
        weight: guidance weight, a number or a tensor that broadcasts against x; 1 for no guidance.

    Raises:
        FastdiffError: if the condition has no label and no text.
    """
    conditional = model(x, t, s, cond)
    if not isinstance(weight, Tensor) and weight == 1:
        return conditional
    if not {"label", "text"} & set(cond or ()):
        raise FastdiffError(
            "guidance needs labels or captions of the data: choose a weight of 1, for no guidance"
        )
    null = model(x, t, s, model.null(cond))
    x0, eps = (b + weight * (a - b) for a, b in zip(conditional, null, strict=True))
    return Prediction(x, x0, eps)


def heun(teacher: Denoiser, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """Return x_s (B, ...) after a step of Heun's method, exact if (x0, eps) is constant along the step.

    A step to s = 0, where eps may be 0 / 0, is a step of Euler's method.

    Args:
        teacher: the model, which is evaluated twice.
        schedule: schedule of the times.
        x: samples x_t (B, ...).
        t: times (B,) of the samples.
        s: times (B,) at which the step ends, at most t.
        cond: the condition.
    """
    p_t = teacher(x, t, s, cond)
    x_s = schedule.mix(*p_t, s)
    p_s = teacher(x_s, s, s, cond)
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    alpha_s, sigma_s = schedule.alpha_sigma(s)
    turn = like(alpha_s - alpha_t, x) * (p_s.x0 - p_t.x0) + like(sigma_s - sigma_t, x) * (p_s.eps - p_t.eps)
    return torch.where(like(s > 0, x) > 0, x_s + turn / 2, x_s)
