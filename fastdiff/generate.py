"""Model + sampler + time grid + sample indices -> samples, the same on any batch size and number of processes."""

import inspect
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import FastdiffError
from .guidance import Guided
from .rng import SampleRng
from .samplers import SAMPLERS, time_grid


class Made(NamedTuple):
    """A batch of samples: their indices, the samples, and the network evaluations each cost."""

    indices: Tensor
    x: Tensor
    nfe: int


def generate(model: Denoiser, sampler: str, times: Tensor, indices: Tensor, *, seed: int = 0, labels: Tensor | None = None,
             guidance: float = 1.0, clip: float | None = None, batch: int = 512, **options: Any) -> Iterator[Made]:
    """Samples number indices (n,) of a seed, batch after batch; labels (n,) where the model takes them.

    Sample i depends on (model, sampler, times, options, seed, i) alone: its noise is drawn by its index.
    """
    draw = SAMPLERS[sampler]
    stochastic = "randn" in inspect.signature(draw).parameters
    device = model.device
    for part, mark in zip(indices.split(batch), (labels if labels is not None else indices).split(batch), strict=True):
        rng = SampleRng(seed, part, device)
        cond = {"label": mark.to(device)} if labels is not None else None
        null = {"label": torch.full_like(cond["label"], model.net.null_label)} if cond and guidance != 1 else None
        denoise = Guided(model, cond, null, guidance, clip)
        noise = {"randn": lambda x, rng=rng: rng.normal(x.shape[1:]).to(x)} if stochastic else {}
        x = rng.normal(model.shape) * model.schedule.alpha_sigma(times[0])[1]
        with torch.no_grad():
            last = deque(draw(denoise, x, times, **noise, **options), maxlen=1).pop()
        yield Made(part, last.x, denoise.nfe)


def sample(model: Denoiser, sampler: str | None = None, steps: int | None = None, n: int = 64, seed: int = 0,
           spacing: str | None = None, labels: Tensor | int | None = None, guidance: float = 1.0, batch: int = 512,
           **options: Any) -> Tensor:
    """n samples as a float tensor (n, *shape), images in [-1, 1]; what is not named is what was recorded with the model."""
    for what, value in (("n", n), ("batch", batch)):
        if value < 1:
            raise FastdiffError(f"{what} = {value}: expected at least 1")
    sampler, times, options = plan(model, sampler, steps, spacing, options)
    if labels is not None:
        labels = torch.as_tensor(labels)
        if labels.numel() not in (1, n):
            raise FastdiffError(f"labels: {labels.numel()} of them for n = {n}; give one, or one for each sample")
        labels = check_labels(model, labels.expand(n))
    if guidance != 1.0 and labels is None:
        raise FastdiffError(f"guidance = {guidance} needs labels: there is no condition to guide by")
    made = generate(model, sampler, times, torch.arange(n), seed=seed, labels=labels, guidance=guidance, batch=batch,
                    **options)
    return torch.cat([part.x for part in made])


def plan(model: Denoiser, sampler: str | None, steps: int | None, spacing: str | None,
         options: dict[str, Any]) -> tuple[str, Tensor, dict[str, Any]]:
    """The sampler, its grid and its options, checked against the model."""
    own = model.sampling
    if model.shape is None:
        raise FastdiffError("this model does not say the shape of a sample: make it with Denoiser(..., shape=(C, H, W))")
    sampler, steps = sampler or own.sampler, own.steps[0] if steps is None else steps
    if sampler not in SAMPLERS:
        raise FastdiffError(f"sampler {sampler!r} is unknown, choose from {', '.join(SAMPLERS)}")
    if own.only and (sampler != own.sampler or steps not in own.steps):
        raise FastdiffError(f"this model was trained for {own.sampler} at {' or '.join(map(str, own.steps))} steps, "
                            f"not for {sampler} at {steps}")
    known = set(inspect.signature(SAMPLERS[sampler]).parameters) - {"denoise", "x", "times", "randn"}
    if unknown := set(options) - known - {"clip"}:
        raise FastdiffError(f"sampler {sampler} has no option {sorted(unknown)[0]!r}; "
                            f"it has {', '.join(sorted(known)) or 'none'}")
    times = time_grid(model.schedule, steps, spacing or own.spacing)
    (alpha, sigma), (a, b) = model.schedule.alpha_sigma(times[0]), model.row(times[0])
    if not 0 < (alpha * b - sigma * a).abs() < float("inf"):
        raise FastdiffError(f"a model that predicts {model.predicts} cannot start at t = {times[0]:g} of its schedule, "
                            f"where alpha = {alpha:g}: choose spacing karras, or a model that predicts v")
    return sampler, times, options


def check_labels(model: Denoiser, labels: Tensor) -> Tensor:
    """Labels that the model knows."""
    null = getattr(model.net, "null_label", None)
    if null is None:
        raise FastdiffError("labels were given, but this model takes none")
    if labels.min() < 0 or labels.max() >= null:
        raise FastdiffError(f"labels must be 0 to {null - 1}, got {int(labels.min())} to {int(labels.max())}")
    return labels.long()
