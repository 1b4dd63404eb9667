"""Model + sampler + time grid + sample indices -> samples, the same on any batch size and number of processes."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import FastdiffError
from .guidance import Guided
from .rng import SampleRng
from .samplers import SAMPLERS, State, time_grid
from .samplers.grids import Spacing
from .settings import check, spelled

Watch = Callable[[Tensor, State], None]
MOST = 10**8                                     # samples at once: beyond, the number is a slip
RUN = ("denoise", "x", "times", "randn")           # what a run gives a sampler; its other parameters are options


class Made(NamedTuple):
    """A batch of samples: their indices, the samples, and the network evaluations each cost."""

    indices: Tensor
    x: Tensor
    nfe: int


# What `sample` may say of guidance and bounds besides the scale: the rest of Guided's settings.
GUIDANCE = tuple(inspect.signature(Guided).parameters)[4:]


def generate(model: Denoiser, sampler: str | Callable[..., Iterator[State]], times: Tensor, indices: Tensor, *,
             seed: int = 0, labels: Tensor | None = None, guidance: float = 1.0, batch: int = 512,
             start: Tensor | None = None, wrap: Callable[[Guided], Any] | None = None, watch: Watch | None = None,
             **options: Any) -> Iterator[Made]:
    """Samples number indices (n,) of a seed, batch after batch; labels (n,) where the model takes them.

    Sample i depends on (model, sampler, times, options, seed, i) alone: its noise is drawn by its index.
    start: clean samples (n, *shape) to noise to times[0], where sampling does not begin at noise alone.
    wrap: what the sampler is to call in the place of Guided. watch: called with the indices and each state on the way.
    options: the sampler's, and those of Guided.
    """
    draw, device = SAMPLERS[sampler] if isinstance(sampler, str) else sampler, model.device
    stochastic = "randn" in inspect.signature(draw).parameters
    bounds = {name: options.pop(name) for name in GUIDANCE if name in options}
    (alpha, sigma), *_, (_, sigma_end) = model.schedule.levels(times)
    for rows in torch.arange(len(indices)).split(batch) if len(indices) else ():
        part = indices[rows]
        rng = SampleRng(seed, part, device)
        cond = {"label": labels[rows].to(device)} if labels is not None else None
        guided = not model.guidance and (guidance != 1 or bounds.get("plus"))
        unconditional = cond and "against" not in bounds and guided
        null = {"label": torch.full_like(cond["label"], model.net.null_label)} if unconditional else None
        denoise = Guided(model, cond, null, guidance, **bounds)
        denoise = wrap(denoise) if wrap else denoise
        noise = {"randn": lambda x, rng=rng: rng.normal(x.shape[1:]).to(x)} if stochastic else {}
        with torch.inference_mode():
            x = rng.normal(model.shape) * sigma
            x = x if start is None else x.add_(start[rows].to(x), alpha=alpha)
            for state in draw(denoise, x, times, **noise, **options):
                if watch:
                    watch(part, state)
            last = denoise(state.x, times[-1], times[-1]).x0 if sigma_end > 0 else state.x     # of a grid that stops early
        yield Made(part, last.clone(), denoise.nfe)        # cloned outside: a tensor that gradients may flow through


def sample(model: Denoiser, sampler: str | None = None, steps: int | None = None, n: int = 64, seed: int = 0,
           spacing: Spacing | None = None, labels: Tensor | int | None = None, guidance: float = 1.0, batch: int = 512,
           watch: Watch | None = None, share: tuple[int, int] = (0, 1), **options: Any) -> Tensor:
    """n samples as a float tensor (n, *shape), images in [-1, 1]; what is not named is what was recorded with the model.

    share: (r, w), one process of w: its samples alone, numbers r, r + w, ... of the n.
    options: the sampler's own, and clip, threshold, interval, rescale, plus, every, against of `Guided`.
    """
    for what, value in (("n", n), ("batch", batch)):
        if not 1 <= value <= MOST:
            raise FastdiffError(f"{what} = {value}: expected at least 1, and at most {MOST}")
    sampler, times, options = plan(model, sampler, steps, spacing, options)
    labels = conditions(model, labels, n, guidance, options)
    own = torch.arange(n)[share[0] :: share[1]]
    made = generate(model, sampler, times, own, seed=seed, labels=None if labels is None else labels[own],
                    guidance=guidance, batch=batch, watch=watch, **options)
    return torch.cat([torch.empty(0, *model.shape, device=model.device), *(part.x for part in made)])


def conditions(model: Denoiser, labels: Tensor | int | None, n: int, guidance: float,
               options: dict[str, Any]) -> Tensor | None:
    """Labels (n,) that the model knows, and guidance that has something to guide by."""
    if labels is not None:
        labels = torch.as_tensor(labels)
        if labels.numel() not in (1, n):
            raise FastdiffError(f"labels: {labels.numel()} of them for n = {n}; give one, or one for each sample")
        labels = check_labels(model, labels.expand(n))
    guided = guidance != 1.0 or options.get("plus")
    if guided and "against" not in options and labels is None:
        raise FastdiffError(f"guidance = {guidance} needs labels: there is no condition to guide by")
    if idle := [name for name in ("interval", "rescale", "every", "against") if name in options and not guided]:
        raise FastdiffError(f"{idle[0]} = {options[idle[0]]} is about guidance, and guidance = 1 is none: set guidance too")
    return labels


def plan(model: Denoiser, sampler: str | None, steps: int | None, spacing: Spacing | None,
         options: dict[str, Any]) -> tuple[str, Tensor, dict[str, Any]]:
    """The sampler, its grid and its options, checked against the model."""
    own = model.sampling
    if model.shape is None:
        raise FastdiffError("this model does not say the shape of a sample: make it with Denoiser(..., shape=(C, H, W))")
    sampler, steps = sampler or own.sampler, own.steps[0] if steps is None else steps
    name, own_options = spelled(sampler, "sampler")
    options = own_options | options
    if name not in SAMPLERS:
        raise FastdiffError(f"sampler {name!r} is unknown, choose from {', '.join(SAMPLERS)}")
    if own.only and (sampler != own.sampler or steps not in own.steps):
        raise FastdiffError(f"this model was trained for {own.sampler} at {' or '.join(map(str, own.steps))} steps, "
                            f"not for {sampler} at {steps}")
    if model.two_times and not SAMPLERS[name].traits["jumps"]:
        fit = ", ".join(known for known, draw in SAMPLERS.items() if draw.traits["jumps"])
        raise FastdiffError(f"sampler {name} needs the slope at a time, and this model jumps from one time to another: "
                            f"choose from {fit}")
    bounds = {k: options.pop(k) for k in GUIDANCE if k in options}
    options = {k: v for k, v in check(SAMPLERS, name, options, f"sampler {name}", skip=RUN).items() if k in options}
    grid = own.spacing_for(steps) if sampler == own.sampler else own.spacing
    times = time_grid(model.schedule, steps, grid if spacing is None else spacing)
    if own.only and not torch.equal(times, time_grid(model.schedule, steps, grid)):
        raise FastdiffError(f"this model was trained for the {own.spacing} grid alone, not for spacing {spacing}")
    (alpha, sigma), (a, b) = model.schedule.alpha_sigma(times[0]), model.row(times[0])
    if not 0 < (alpha * b - sigma * a).abs() < float("inf"):
        raise FastdiffError(f"a model that predicts {model.predicts} cannot start at t = {times[0]:g} of its schedule, "
                            f"where alpha = {alpha:g}: choose spacing karras, or a model that predicts v")
    return name, times, bounds | options


def check_labels(model: Denoiser, labels: Tensor) -> Tensor:
    """Labels that the model knows."""
    null = getattr(model.net, "null_label", None)
    if null is None:
        raise FastdiffError("labels were given, but this model takes none")
    if labels.min() < 0 or labels.max() >= null:
        raise FastdiffError(f"labels must be 0 to {null - 1}, got {int(labels.min())} to {int(labels.max())}")
    return labels.long()
