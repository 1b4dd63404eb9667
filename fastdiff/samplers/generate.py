"""Model + sampler + time grid + sample indices -> samples, the same on any batch size and number of processes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.denoiser import TEXT, Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.guidance import Guided, usual_guidance
from ..core.rng import SampleRng
from ..core.validation import check, spelled
from . import SAMPLERS, State, time_grid
from .time_grids import Spacing

Watch = Callable[[Tensor, State], None]
BASE = 0xBA5E  # of a cascade's base: its noise is not that of what stands on it
MOST = 10**8  # samples at once: beyond, the number is a slip
RUN = ("denoise", "x", "times", "randn")  # what a run gives a sampler; its other parameters are options


class Made(NamedTuple):
    """A batch of samples: their indices, the samples, and the network evaluations each cost."""

    indices: Tensor
    x: Tensor
    nfe: int


# What `sample` may say of guidance and bounds besides the scale: the rest of Guided's settings.
GUIDANCE = tuple(inspect.signature(Guided).parameters)[4:]


def generate(
    model: Denoiser,
    sampler: str | Callable[..., Iterator[State]],
    times: Tensor,
    indices: Tensor,
    *,
    seed: int = 0,
    cond: Cond = None,
    guidance: float = 1.0,
    batch: int = 512,
    start: Tensor | None = None,
    wrap: Callable[[Guided], Any] | None = None,
    watch: Watch | None = None,
    decoded: bool = True,
    **options: Any,
) -> Iterator[Made]:
    """Samples number indices (n,) of a seed, batch after batch; cond: a row each, of which `conditions` makes what is given.

    Sample i depends on (model, sampler, times, options, seed, i) alone: its noise is drawn by its index.
    start: clean samples (n, *shape) to noise to times[0], where sampling does not begin at noise alone.
    wrap: what the sampler is to call in the place of Guided. watch: called with the indices and each state on the way.
    decoded: latents as images. options: the sampler's, and those of Guided.
    """
    draw, device = SAMPLERS[sampler] if isinstance(sampler, str) else sampler, model.device
    stochastic = "randn" in inspect.signature(draw).parameters
    bounds = {name: options.pop(name) for name in GUIDANCE if name in options}
    (alpha, sigma), *_, (_, sigma_end) = model.schedule.levels(times)
    for rows in torch.arange(len(indices)).split(batch) if len(indices) else ():
        part = indices[rows]
        rng = SampleRng(seed, part, device)
        own = {name: value[rows].to(device) for name, value in cond.items()} if cond else {}
        own, nfe = with_base(model, own, part, seed)
        guided = own and not model.guidance and (guidance != 1 or bounds.get("plus"))
        null = model.null(own) if guided and "against" not in bounds else None
        denoise = Guided(model, own or None, null, guidance, **bounds)
        denoise = wrap(denoise) if wrap else denoise
        noise = {"randn": lambda x, rng=rng: rng.normal(x.shape[1:]).to(x)} if stochastic else {}
        with torch.inference_mode():
            x = rng.normal(model.shape) * sigma
            x = x if start is None else x.add_(start[rows].to(x), alpha=alpha)
            for state in draw(denoise, x, times, **noise, **options):
                if watch:
                    watch(part, state)
            last = (
                denoise(state.x, times[-1], times[-1]).x0 if sigma_end > 0 else state.x
            )  # of a grid that stops early
            last = model.decoded(last) if decoded else last
        yield Made(
            part, last.clone(), nfe + denoise.nfe
        )  # cloned outside: a tensor that gradients may flow through


def with_base(
    model: Denoiser, cond: dict[str, Tensor], indices: Tensor, seed: int
) -> tuple[dict[str, Tensor], int]:
    """The condition with the samples of a cascade's base as its image, and the evaluations that these cost."""
    if model.base is None or "image" in cond:
        return cond, 0
    base, theirs = (
        model.base.to(model.device),
        {name: cond[name] for name in ("label", *TEXT) if name in cond},
    )
    name, times, options = plan(base, None, None, None, {})
    made = next(
        generate(
            base,
            name,
            times,
            indices,
            seed=seed ^ BASE,
            cond=theirs,
            guidance=usual_guidance(base),
            batch=len(indices),
            **options,
        )
    )
    return cond | {"image": made.x.to(model.device)}, made.nfe


def sample(
    model: Denoiser,
    sampler: str | None = None,
    steps: int | None = None,
    n: int = 64,
    seed: int = 0,
    spacing: Spacing | None = None,
    labels: Tensor | int | None = None,
    guidance: float = 1.0,
    batch: int = 512,
    prompts: str | Sequence[str] | None = None,
    image: Tensor | None = None,
    watch: Watch | None = None,
    share: tuple[int, int] = (0, 1),
    **options: Any,
) -> Tensor:
    """n samples as a float tensor (n, *image_shape), images in [-1, 1]; what is not named is as recorded with the model.

    labels, prompts, image (k, C, h, w): one for all samples or one each, of models that are conditioned on them.
    share: (r, w), one process of w: its samples alone, numbers r, r + w, ... of the n.
    options: the sampler's own, and clip, threshold, interval, rescale, plus, every, against of `Guided`.
    """
    for what, value in (("n", n), ("batch", batch)):
        if not 1 <= value <= MOST:
            raise FastdiffError(f"{what} = {value}: expected at least 1, and at most {MOST}")
    sampler, times, options = plan(model, sampler, steps, spacing, options)
    cond = conditions(model, n, labels, prompts, image, guidance, options)
    own = torch.arange(n)[share[0] :: share[1]]
    made = generate(
        model,
        sampler,
        times,
        own,
        seed=seed,
        cond=rows_of(cond, own),
        guidance=guidance,
        batch=batch,
        watch=watch,
        **options,
    )
    return torch.cat([torch.empty(0, *model.image_shape, device=model.device), *(part.x for part in made)])


def conditions(
    model: Denoiser,
    n: int,
    labels: Tensor | int | None = None,
    prompts: str | Sequence[str] | None = None,
    image: Tensor | None = None,
    guidance: float = 1.0,
    options: dict[str, Any] | None = None,
) -> Cond:
    """What n samples are conditioned on, a row each, where the model knows it and guidance has something to guide by."""
    options, cond = options or {}, {}
    if labels is not None:
        cond["label"] = check_labels(model, one_each("labels", torch.as_tensor(labels).reshape(-1), n))
    if prompts is not None and not model.text:
        fit = "leave them out" if model.classes is None else "give labels"
        raise FastdiffError(f"prompts were given, and this model takes none: {fit}")
    if model.text:
        told = [""] if prompts is None else [prompts] if isinstance(prompts, str) else list(prompts)
        number = {prompt: i for i, prompt in enumerate(dict.fromkeys(told))}
        of = one_each("prompts", torch.tensor([number[prompt] for prompt in told]), n)
        cond |= {name: value[of] for name, value in model.text.to(model.device).encode(list(number)).items()}
    channels = getattr(model.net, "image", 0)
    if image is not None:
        if not channels or image.ndim != 4 or image.shape[1] != channels:
            raise FastdiffError(
                f"image {tuple(image.shape)}: this model is conditioned on "
                + (f"images (n, {channels}, H, W)" if channels else "no image")
            )
        cond["image"] = image[one_each("image", torch.arange(len(image)), n)]
    elif channels and model.base is None:
        raise FastdiffError("this model is conditioned on an image: give one, or one for each sample")
    guided = guidance != 1.0 or options.get("plus")
    if guided and "against" not in options and labels is None and prompts is None:
        what = "prompts" if model.text else "labels"
        raise FastdiffError(f"guidance = {guidance} needs {what}: there is no condition to guide by")
    if idle := [
        name for name in ("interval", "rescale", "every", "against") if name in options and not guided
    ]:
        raise FastdiffError(
            f"{idle[0]} = {options[idle[0]]} is about guidance, and guidance = 1 is none: set guidance too"
        )
    return cond or None


def one_each(what: str, given: Tensor, n: int) -> Tensor:
    """One of the given for each of n samples."""
    if len(given) not in (1, n):
        raise FastdiffError(f"{what}: {len(given)} of them for n = {n}; give one, or one for each sample")
    return given.expand(n)


def rows_of(cond: Cond, rows: Tensor) -> Cond:
    """A condition's rows."""
    return {name: value[rows] for name, value in cond.items()} if cond else None


def plan(
    model: Denoiser, sampler: str | None, steps: int | None, spacing: Spacing | None, options: dict[str, Any]
) -> tuple[str, Tensor, dict[str, Any]]:
    """The sampler, its grid and its options, checked against the model."""
    own = model.sampling
    if model.shape is None:
        raise FastdiffError(
            "this model does not say the shape of a sample: make it with Denoiser(..., shape=(C, H, W))"
        )
    sampler, steps = sampler or own.sampler, own.steps[0] if steps is None else steps
    name, own_options = spelled(sampler, "sampler")
    options = own_options | options
    if name not in SAMPLERS:
        raise FastdiffError(f"sampler {name!r} is unknown, choose from {', '.join(SAMPLERS)}")
    if own.only and (sampler != own.sampler or steps not in own.steps):
        raise FastdiffError(
            f"this model was trained for {own.sampler} at {' or '.join(map(str, own.steps))} steps, "
            f"not for {sampler} at {steps}"
        )
    if model.two_times and not SAMPLERS[name].traits["jumps"]:
        fit = ", ".join(known for known, draw in SAMPLERS.items() if draw.traits["jumps"])
        raise FastdiffError(
            f"sampler {name} needs the slope at a time, and this model jumps from one time to another: "
            f"choose from {fit}"
        )
    bounds = {k: options.pop(k) for k in GUIDANCE if k in options}
    options = {
        k: v for k, v in check(SAMPLERS, name, options, f"sampler {name}", skip=RUN).items() if k in options
    }
    grid = own.spacing_for(steps) if sampler == own.sampler else own.spacing
    times = time_grid(model.schedule, steps, grid if spacing is None else spacing)
    if own.only and not torch.equal(times, time_grid(model.schedule, steps, grid)):
        raise FastdiffError(
            f"this model was trained for the {own.spacing} grid alone, not for spacing {spacing}"
        )
    (alpha, sigma), (a, b) = model.schedule.alpha_sigma(times[0]), model.row(times[0])
    if not 0 < (alpha * b - sigma * a).abs() < float("inf"):
        raise FastdiffError(
            f"a model that predicts {model.predicts} cannot start at t = {times[0]:g} of its schedule, "
            f"where alpha = {alpha:g}: choose spacing karras, or a model that predicts v"
        )
    return name, times, bounds | options


def check_labels(model: Denoiser, labels: Tensor) -> Tensor:
    """Labels that the model knows."""
    if model.classes is None:
        raise FastdiffError("labels were given, but this model takes none")
    if labels.min() < 0 or labels.max() >= model.classes:
        raise FastdiffError(
            f"labels must be 0 to {model.classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return labels.long()
