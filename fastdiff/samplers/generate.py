"""Samples of a model by a sampler on a time grid: the same for any batch size and number of processes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.denoiser import PROMPT_KEYS, Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.former_names import renamed_arguments
from ..core.guidance import GuidanceOptions, Guided, usual_guidance
from ..core.rng import SampleRng
from . import State
from .plan import SamplingPlan, plan
from .time_grids import Spacing

Watch = Callable[[Tensor, State], None]
BASE_SEED = 0xBA5E  # of a cascade's base: its noise is not that of the model that stands on it
MAX_SAMPLES = 10**8  # at once: beyond, the number is a slip


class SampleBatch(NamedTuple):
    """A batch of samples.

    Args:
        indices: their numbers (B,).
        x: the samples (B, ...).
        nfe: network evaluations that each of them cost.
    """

    indices: Tensor
    x: Tensor
    nfe: int


def generate(
    model: Denoiser,
    plan: SamplingPlan,
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
) -> Iterator[SampleBatch]:
    """Yield samples number indices (n,) of a seed, batch after batch.

    Sample i depends on (model, plan, cond, seed, i) alone: its noise is drawn by its index.

    Args:
        model: the model to sample.
        plan: how to sample it.
        indices: numbers (n,) of the samples.
        seed: seed of the noise.
        cond: a row for each sample, as `conditions` makes it.
        guidance: weight of guidance, 1 for none.
        batch: samples at once.
        start: clean samples (n, *shape), noised to times[0] as the start; None to start from noise.
        wrap: makes of a Guided the function that the sampler calls in its place.
        watch: called with the indices and each state on the way.
        decoded: decode latents to images.

    Yields:
        Batches in the order of the indices.
    """
    sampler = plan.run
    times = plan.times
    device = model.device
    stochastic = "randn" in inspect.signature(sampler).parameters
    options = plan.guidance_options
    (alpha, sigma), *_, (_, sigma_end) = model.schedule.levels(times)
    for rows in torch.arange(len(indices)).split(batch) if len(indices) else ():
        part = indices[rows]
        rng = SampleRng(seed, part, device)
        own = {name: value[rows].to(device) for name, value in cond.items()} if cond else {}
        own, nfe = with_base(model, own, part, seed)
        guided = own and not model.guidance and (guidance != 1 or options.plus)
        null = model.null(own) if guided and options.against is None else None
        denoise = Guided(model, own or None, null, guidance, **vars(options))
        denoise = wrap(denoise) if wrap else denoise
        noise = {"randn": lambda x, rng=rng: rng.normal(x.shape[1:]).to(x)} if stochastic else {}
        with torch.inference_mode():
            x = rng.normal(model.shape) * sigma
            x = x if start is None else x.add_(start[rows].to(x), alpha=alpha)
            for state in sampler(denoise, x, times, **noise, **plan.sampler_options):
                if watch:
                    watch(part, state)
            # A grid may stop before the data: one more prediction leads there.
            last = denoise(state.x, times[-1], times[-1]).x0 if sigma_end > 0 else state.x
            last = model.decoded(last) if decoded else last
        yield SampleBatch(
            part, last.clone(), nfe + denoise.nfe
        )  # cloned outside: gradients may flow through it


def with_base(
    model: Denoiser, cond: dict[str, Tensor], indices: Tensor, seed: int
) -> tuple[dict[str, Tensor], int]:
    """Return the condition with the samples of a cascade's base as its image, and the evaluations these cost.

    Args:
        model: the upper model; one without a base, or with an image in cond, keeps cond as it is.
        cond: the condition of the samples.
        indices: their numbers (n,).
        seed: of the upper model's noise.
    """
    if model.base is None or "image" in cond:
        return cond, 0
    base = model.base.to(model.device)
    theirs = {name: cond[name] for name in ("label", *PROMPT_KEYS) if name in cond}
    samples = generate(
        base,
        plan(base),
        indices,
        seed=seed ^ BASE_SEED,
        cond=theirs,
        guidance=usual_guidance(base),
        batch=len(indices),
    )
    made = next(samples)
    return cond | {"image": made.x.to(model.device)}, made.nfe


@renamed_arguments
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
    condition_image: Tensor | None = None,
    watch: Watch | None = None,
    shard: tuple[int, int] = (0, 1),
    **options: Any,
) -> Tensor:
    """Return n samples as a float tensor (n, *image_shape), images in [-1, 1].

    Args:
        model: the model to sample.
        sampler: a key of SAMPLERS, options in brackets; None for the model's own.
        steps: steps of the grid; None for the model's own.
        n: number of samples.
        seed: of the noise; sample i depends on it and on i, and not on the batch.
        spacing: of the grid, see `time_grid`; None for the model's own.
        labels: one for all samples or one each, of a model with classes.
        guidance: weight of guidance, 1 for none.
        batch: samples at once.
        prompts: one for all samples or one each, of a model of text.
        condition_image: images (k, C, h, w) that the model is conditioned on, one for all samples or one
            each; only for models with an image condition.
        watch: called with the indices and each state on the way.
        shard: (rank, number of processes): make the samples number rank, rank + processes, ... alone.
        options: options of the sampler and of GuidanceOptions, by name.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and settings that do not fit the model.
    """
    for name, value in (("n", n), ("batch", batch)):
        if not 1 <= value <= MAX_SAMPLES:
            raise FastdiffError(f"{name} = {value}: expected at least 1, and at most {MAX_SAMPLES}", key=name)
    way = plan(model, sampler, steps, spacing, options)
    cond = conditions(model, n, labels, prompts, condition_image, guidance, way.guidance_options)
    rank, processes = shard
    own = torch.arange(n)[rank::processes]
    made = generate(
        model, way, own, seed=seed, cond=rows_of(cond, own), guidance=guidance, batch=batch, watch=watch
    )
    return torch.cat([torch.empty(0, *model.image_shape, device=model.device), *(part.x for part in made)])


def conditions(
    model: Denoiser,
    n: int,
    labels: Tensor | int | None = None,
    prompts: str | Sequence[str] | None = None,
    image: Tensor | None = None,
    guidance: float = 1.0,
    options: GuidanceOptions = GuidanceOptions(),
) -> Cond:
    """Return the condition of n samples, a row for each; None for no condition.

    Args:
        model: the model that the samples are drawn from.
        n: number of samples.
        labels: one or n.
        prompts: one or n.
        image: one or n condition images (k, C, h, w).
        guidance: weight of guidance.
        options: the other settings of guidance.

    Raises:
        FastdiffError: for conditions that the model does not take, for a model that needs an image and gets
            none, and for guidance that has no condition, or no weight, to work with.
    """
    cond: dict[str, Tensor] = {}
    if labels is not None:
        given = one_each("labels", torch.as_tensor(labels).reshape(-1), n)
        cond["label"] = check_labels(model, given)
    if prompts is not None and not model.text:
        fit = "leave them out" if model.classes is None else "give labels"
        raise FastdiffError(f"prompts were given, and this model takes none: {fit}")
    if model.text:
        cond |= embedded_prompts(model, n, "" if prompts is None else prompts)
    if image is not None:
        cond["image"] = check_image(model, image)[one_each("image", torch.arange(len(image)), n)]
    elif model.condition_channels and model.base is None:
        raise FastdiffError("this model is conditioned on an image: give one, or one for each sample")
    guided = guidance != 1.0 or options.plus
    if guided and options.against is None and labels is None and prompts is None:
        missing = "prompts" if model.text else "labels"
        raise FastdiffError(f"guidance = {guidance} needs {missing}: there is no condition to guide by")
    if not guided and (name := options.idle_without_guidance):
        raise FastdiffError(
            f"{name} = {getattr(options, name)} is about guidance, "
            "and guidance = 1 is none: set guidance too",
            key=name,
        )
    return cond or None


def embedded_prompts(model: Denoiser, n: int, prompts: str | Sequence[str]) -> dict[str, Tensor]:
    """Return the embeddings of n samples' prompts; each different prompt is encoded once."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    rows = one_each("prompts", torch.tensor([number[prompt] for prompt in prompts]), n)
    encoded = model.text.to(model.device).encode(list(number))
    return {name: value[rows] for name, value in encoded.items()}


def check_image(model: Denoiser, image: Tensor) -> Tensor:
    """Return condition images (k, C, h, w); raise FastdiffError if the model does not take them."""
    channels = model.condition_channels
    if not channels or image.ndim != 4 or image.shape[1] != channels:
        fit = f"images (n, {channels}, H, W)" if channels else "no image"
        raise FastdiffError(f"image {tuple(image.shape)}: this model is conditioned on {fit}")
    return image


def one_each(name: str, given: Tensor, n: int) -> Tensor:
    """Return one of the given for each of n samples; raise FastdiffError if there are neither 1 nor n."""
    if len(given) not in (1, n):
        raise FastdiffError(f"{name}: {len(given)} of them for n = {n}; give one, or one for each sample")
    return given.expand(n)


def rows_of(cond: Cond, rows: Tensor) -> Cond:
    """Return the rows of a condition; None for no condition."""
    return {name: value[rows] for name, value in cond.items()} if cond else None


def check_labels(model: Denoiser, labels: Tensor) -> Tensor:
    """Return labels as int64; raise FastdiffError if they are not classes of the model."""
    if model.classes is None:
        raise FastdiffError("labels were given, but this model takes none")
    if labels.min() < 0 or labels.max() >= model.classes:
        raise FastdiffError(
            f"labels must be 0 to {model.classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return labels.long()
