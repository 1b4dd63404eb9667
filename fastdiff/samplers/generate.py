"""Samples of a model, which do not depend on the batch size or the number of processes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.defaults import float32_on_cpu
from ..core.denoiser import PROMPT_KEYS, Cond, Denoiser
from ..core.errors import checked_integer
from ..core.former_names import renamed_arguments
from ..core.guidance import Guided, usual_guidance
from ..core.progress_bar import counting
from ..core.public_arguments import takes_a_model
from ..core.rng import SampleRng
from . import State
from .conditions import conditions, rows_of
from .plan import SamplingPlan, plan
from .time_grids import Spacing

Watch = Callable[[Tensor, State], None]
BASE_SEED = 0xBA5E  # XORed with the seed, so that the base of a cascade gets noise of its own
MAX_SAMPLES = 10**8  # per call; a larger number is taken for a mistake


class SampleBatch(NamedTuple):
    """A batch of samples.

    Args:
        indices: indices of the samples (B,).
        x: samples (B, ...).
        nfe: number of network evaluations per sample.
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
    """Yield the samples with the given indices, in batches.

    Sample i depends only on (model, plan, cond, seed, i): its noise is drawn by its index.

    Args:
        model: the model to sample.
        plan: sampler, time grid and options, see `plan`.
        indices: indices of the samples (n,).
        seed: seed of the noise.
        cond: condition with one row per sample, see `conditions`.
        guidance: guidance weight; 1 turns guidance off.
        batch: number of samples in a batch.
        start: clean samples (n, *shape), which are noised to times[0]; None to start from noise.
        wrap: function from a Guided to the function that the sampler calls instead; None for the Guided.
        watch: function that is called with the indices (B,) of a batch and each State.
        decoded: decode latents to images.

    Yields:
        A SampleBatch per batch, in the order of the indices.
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
            # A grid may end before the data: one more prediction leads there.
            last = denoise(state.x, times[-1], times[-1]).x0 if sigma_end > 0 else state.x
            last = model.decoded(last) if decoded else last
        yield SampleBatch(
            part, last.clone(), nfe + denoise.nfe
        )  # cloned outside inference_mode, so that autograd can use it


def with_base(
    model: Denoiser, cond: dict[str, Tensor], indices: Tensor, seed: int
) -> tuple[dict[str, Tensor], int]:
    """Return the condition with the samples of a cascade's base as its image, and their evaluations.

    Args:
        model: the upper model; cond is returned as it is if the model has no base or cond has an image.
        cond: condition of the samples.
        indices: indices of the samples (n,).
        seed: seed of the upper model's noise.

    Returns:
        The condition, and the number of network evaluations of the base per sample.
    """
    if model.base is None or "image" in cond:
        return cond, 0
    base = model.base.to(model.device)
    base_cond = {name: cond[name] for name in ("label", *PROMPT_KEYS) if name in cond}
    samples = generate(
        base,
        plan(base),
        indices,
        seed=seed ^ BASE_SEED,
        cond=base_cond,
        guidance=usual_guidance(base),
        batch=len(indices),
    )
    made = next(samples)
    return cond | {"image": made.x.to(model.device)}, made.nfe


@takes_a_model
@renamed_arguments
@float32_on_cpu()
def sample(
    model: Denoiser,
    sampler: str | None = None,
    steps: int | None = None,
    n: int = 64,
    seed: int = 0,
    spacing: Spacing | None = None,
    labels: Tensor | int | None = None,
    guidance: float | None = None,
    batch: int = 512,
    prompts: str | Sequence[str] | None = None,
    condition_image: Tensor | None = None,
    watch: Watch | None = None,
    shard: tuple[int, int] = (0, 1),
    negative_prompts: str | Sequence[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> Tensor:
    """Draw samples from a model.

        model = fastdiff.load("checkpoints/digits-labels/teacher")
        images = fastdiff.sample(model, n=16, labels=3, guidance=2.0)
        images = fastdiff.sample(model, "heun", steps=18, spacing="karras", seed=1)

    Args:
        model: the model to sample; or its path, its hub id, or a pipeline of diffusers, which are opened at
            each call.
        sampler: a key of SAMPLERS, in any case, with options in brackets, such as "ddim[eta=0.5]"; None for
            the model's default.
        steps: number of steps of the time grid; None for the model's default.
        n: number of samples.
        seed: seed of the noise; sample i depends on it and on i, but not on n or the batch size.
        spacing: spacing of the time grid, see `time_grid`; None for the model's default.
        labels: class of all samples or of each sample (n,), for a model with classes.
        guidance: guidance weight; 1 turns guidance off. None for 1, or for the nearest weight in the range of
            a model that takes the weight as an input.
        batch: number of samples in a batch.
        prompts: prompt of all samples or of each sample (n), for a model with prompts.
        condition_image: condition image (1, C, h, w) of all samples or (n, C, h, w) of each sample, in
            [-1, 1], for a model with a condition image.
        watch: function that is called with the indices (B,) of a batch and each State.
        shard: (rank, number of processes): draw only the samples number rank, rank + processes, ...
        negative_prompts: prompt of all samples or of each sample (n) to guide against, in place of the empty
            one.
        progress: whether a bar shows the steps that are done, on standard error.
        options: options of the sampler and of GuidanceOptions, by name.

    Returns:
        The samples (n, *image_shape) in floating point, images about in [-1, 1]; with `shard` only those of
        this rank.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and settings that do not fit the model.
    """
    for name, value in (("n", n), ("batch", batch)):
        checked_integer(name, value, 1, MAX_SAMPLES)
    way = plan(model, sampler, steps, spacing, options)
    guidance = usual_guidance(model) if guidance is None else guidance
    cond = conditions(
        model, n, labels, prompts, condition_image, guidance, way.guidance_options, negative_prompts
    )
    rank, processes = shard
    own = torch.arange(n)[rank::processes]
    with counting("sampling", steps_of(way, len(own), batch), progress) as count:
        made = generate(
            model,
            way,
            own,
            seed=seed,
            cond=rows_of(cond, own),
            guidance=guidance,
            batch=batch,
            watch=counted(watch, count),
        )
        parts = [part.x for part in made]
    return torch.cat([torch.empty(0, *model.image_shape, device=model.device), *parts])


def steps_of(way: SamplingPlan, n: int, batch: int) -> int:
    """Return the number of sampling steps of n samples, batch by batch."""
    return -(-n // batch) * (len(way.times) - 1)


def counted(watch: Watch | None, count: Callable[[], None]) -> Watch:
    """Return a function for `watch` that also counts each step."""

    def both(indices: Tensor, state: State) -> None:
        count()
        if watch:
            watch(indices, state)

    return both
