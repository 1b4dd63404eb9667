"""The overhead of samplers: relative to forward passes of the network, and to diffusers' schedulers."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from rich.table import Column, Table
from torch import Tensor, nn
from typing_extensions import override

from ...core.denoiser import Cond, Denoiser
from ...core.errors import FastdiffError
from ...core.guidance import Guided, usual_guidance
from ...core.schedule import DDPM
from ...core.wording import unregistered
from ...data.image_grid import to_uint8
from ...samplers import SAMPLERS, time_grid
from ...samplers.generate import SampleBatch, generate
from ...samplers.plan import SamplingPlan
from .timer import Work, batch_of, in_turn, network_only

Row = dict[str, Any]
Randn = Callable[[Tensor], Tensor]  # noise of the shape of a tensor

# The scheduler of diffusers with the same steps as a sampler, and its settings.
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_solver": ("DPMSolverSinglestepScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "ipndm": ("IPNDMScheduler", {}),
    "consistency": ("CMStochasticIterativeScheduler", {}),
    "gamma": ("TCDScheduler", {}),
}
PEER_OPTIONS: dict[str, dict[str, Any]] = {
    "gamma": {"eta": 0.0}
}  # options of a peer's steps that match our defaults
NOISE_DRAWING_PEERS = ("ddpm", "euler_ancestral", "consistency")  # peers that draw their own noise
SHAPE = (3, 32, 32)  # shape of a sample in steps without a network
BATCH = 64  # samples in steps without a network
MIN_PASS_SECONDS = 0.02  # shortest forward pass that is measured, in seconds


class Echo(nn.Module):
    """A network that returns its input, so that all time is the sampler's."""

    null_label = None

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        return x


def walk(model: Denoiser, sampler: str, x: Tensor, times: Tensor, randn: Randn) -> int:
    """Draw one batch.

    Args:
        model: model to sample.
        sampler: key of SAMPLERS.
        x: noise (B, ...) to start from.
        times: time grid.
        randn: function that draws the noise of the steps, for samplers with noise.

    Returns:
        The number of network evaluations.
    """
    denoise = Guided(model)
    run = SAMPLERS[sampler]
    noise = {"randn": randn} if "randn" in inspect.signature(run).parameters else {}
    for _ in run(denoise, x, times, **noise):
        pass
    return denoise.nfe


def peer(sampler: str, steps: int, x: Tensor) -> Work:
    """Return the steps of diffusers' scheduler on its own time grid, with a network that returns its input.

    Args:
        sampler: key of PEERS.
        steps: number of steps.
        x: noise (B, ...) to start from; also the noise of the steps, if the scheduler takes it.
    """
    name, settings = PEERS[sampler]
    kind = getattr(diffusers, name)
    # schedulers warn that scale_model_input was not called, which their pipelines do
    diffusers.logging.set_verbosity_error()
    if "timestep_spacing" in inspect.signature(kind.__init__).parameters:
        settings = {**settings, "timestep_spacing": "trailing"}
    options = {"return_dict": False, **PEER_OPTIONS.get(sampler, {})}
    if "variance_noise" in inspect.signature(kind.step).parameters:
        options["variance_noise"] = x

    def prepare() -> Callable[[], None]:
        scheduler = kind(**settings)
        scheduler.set_timesteps(steps)

        def work() -> None:
            state = x
            for t in scheduler.timesteps:
                state = scheduler.step(state, t, state, **options)[0]

        return work

    return prepare


@torch.inference_mode()
def step_cost(sampler: str, steps: int, repeats: int) -> dict[str, float | None]:
    """Measure a step of a sampler and of diffusers' scheduler on 64 x 3 x 32 x 32 numbers, without a network.

    The noise is drawn in advance and not timed, except for the samplers of NOISE_DRAWING_PEERS: there
    diffusers' schedulers draw their own noise, so that both sides draw it with torch.

    Args:
        sampler: key of SAMPLERS.
        steps: number of steps.
        repeats: number of times that each side is timed; the shortest time counts.

    Returns:
        step_us and diffusers_step_us, microseconds per network evaluation, and over_diffusers, their ratio;
        the last two are None if diffusers has no such scheduler.
    """
    model = Denoiser(Echo(), DDPM(), "eps", SHAPE)
    times = time_grid(model.schedule, steps, "trailing")
    x = torch.randn(BATCH, *SHAPE)
    randn = torch.randn_like if sampler in NOISE_DRAWING_PEERS else lambda like: x
    calls = walk(model, sampler, x, times, randn)
    works: list[Work] = [lambda: lambda: walk(model, sampler, x, times, randn)]
    if sampler in PEERS:
        works.append(peer(sampler, steps, x))
    ours, *peer_seconds = in_turn(works, repeats)
    figures = {"step_us": 1e6 * ours / calls, "diffusers_step_us": None, "over_diffusers": None}
    if peer_seconds:
        name, settings = PEERS[sampler]
        scheduler = getattr(diffusers, name)(**settings)
        scheduler.set_timesteps(steps)
        figures["diffusers_step_us"] = 1e6 * peer_seconds[0] / len(scheduler.timesteps)
        figures["over_diffusers"] = figures["step_us"] / figures["diffusers_step_us"]
    return figures


def speed(model: Denoiser, samplers: list[str], steps: int = 8, repeats: int = 10) -> Iterator[Row]:
    """Yield a row for each sampler: its time relative to the same number of forward passes, and `step_cost`.

    The batch is doubled until a forward pass lasts 20 ms. Samplers that the model's schedule does not allow
    have no row.

    Args:
        model: model to sample.
        samplers: keys of SAMPLERS.
        steps: number of steps.
        repeats: number of times that each part is timed; the shortest time counts.

    Raises:
        FastdiffError: for an unknown sampler.
    """
    for sampler in samplers:
        if sampler not in SAMPLERS:
            raise FastdiffError(unregistered(f"sampler {sampler!r}", sampler, SAMPLERS))
    times = time_grid(model.schedule, steps, "trailing")
    batch, forward = batch_of(model, 32, MIN_PASS_SECONDS)
    for sampler in samplers:
        made = partial(drawn, model, sampler, times, batch)
        try:
            nfe = made().nfe
        except FastdiffError:
            continue
        floor, ours = in_turn([network_only(model, batch, nfe), lambda made=made: made], repeats)
        yield {
            "sampler": sampler,
            "steps": steps,
            "nfe": nfe,
            "batch": batch,
            "forward_ms": 1000 * forward,
            "over_forward": ours / floor,
            **step_cost(sampler, steps, repeats),
        }


def over_pipeline(path: str, model: Denoiser, steps: int, batch: int, repeats: int) -> float | None:
    """Return the time of our DDIM divided by that of diffusers' DDIMPipeline with the same network.

    Both times include drawing noise and converting the output to arrays.

    Args:
        path: folder of the model.
        model: loaded model.
        steps: number of steps.
        batch: number of samples.
        repeats: number of times that each side is timed; the shortest time counts.

    Returns:
        The ratio; None if the model is not a plain UNet, or not stored as a diffusers folder.
    """
    plain = model.interface.kind == "unet" and model.classes is None and not (model.latent or model.text)
    if not plain or not (Path(path) / "model_index.json").exists():
        return None
    diffusers.logging.disable_progress_bar()
    pipeline = diffusers.DDIMPipeline(model.net.module, diffusers.DDIMScheduler(timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)
    times = time_grid(model.schedule, steps, "trailing")

    def diffusers_images() -> None:
        pipeline(batch_size=batch, num_inference_steps=steps, output_type="np")

    def our_images() -> None:
        to_uint8(drawn(model, "ddim", times, batch).x).cpu().numpy()

    peer_seconds, ours = in_turn([lambda: diffusers_images, lambda: our_images], repeats)
    return ours / peer_seconds


def stored(model: Denoiser, path: str, samplers: list[str], steps: int, repeats: int = 5) -> Iterator[Row]:
    """Yield the rows of `speed` for a stored model, with `over_pipeline` for ddim."""
    for row in speed(model, samplers, steps, repeats):
        if row["sampler"] == "ddim":
            row["over_pipeline"] = over_pipeline(path, model, steps, row["batch"], repeats)
        yield row


def line(row: Row) -> str:
    """Format a row as a line of text."""
    return f"{row['sampler']}  {row['over_forward']:.3f}"


def table(rows: list[Row]) -> Table:
    """Format rows as a table for a terminal."""
    columns = {
        "us per step": ("step_us", ".0f"),
        "diffusers us": ("diffusers_step_us", ".0f"),
        "over diffusers": ("over_diffusers", ".2f"),
        "over pipeline": ("over_pipeline", ".2f"),
    }
    headers = [Column(name, justify="right") for name in ("NFE", "over forward passes", *columns)]
    shown = Table("Sampler", *headers)
    for row in rows:
        numbers = [number(row.get(key), form) for key, form in columns.values()]
        shown.add_row(row["sampler"], str(row["nfe"]), f"{row['over_forward']:.3f}", *numbers)
    return shown


def number(value: float | None, form: str) -> str:
    """Format a number; None becomes an empty text."""
    return "" if value is None else f"{value:{form}}"


def drawn(model: Denoiser, sampler: str, times: Tensor, batch: int) -> SampleBatch:
    """Draw one batch as `sample` does, its noise included."""
    cond = (
        {"label": torch.zeros(batch, dtype=torch.int64)} if model.guidance else None
    )  # so that guidance applies
    plan = SamplingPlan(sampler, times)
    weight = usual_guidance(model)
    return next(generate(model, plan, torch.arange(batch), batch=batch, cond=cond, guidance=weight))
