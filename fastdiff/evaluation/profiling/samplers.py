"""What a sampler adds to its network: over bare forward passes, and beside diffusers' scheduler of the same steps."""

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
from rich.table import Column, Table
from torch import Tensor, nn

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.guidance import Guided, usual_guidance
from ...core.schedule import DDPM
from ...data.image_grid import to_uint8
from ...samplers import SAMPLERS, time_grid
from ...samplers.generate import Made, generate
from ...samplers.plan import SamplingPlan
from .timer import bare, batch_of, in_turn

# The scheduler of diffusers that takes a sampler's steps, and its settings.
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
SHAPE, BATCH = (3, 32, 32), 64  # of the steps without a network
PASS = 0.02  # seconds a network's pass should last at least, to be told from noise


class Echo(nn.Module):
    """A network that returns its input: what is left is the sampler."""

    null_label = None

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Any = None) -> Tensor:
        return x


def walk(model: Denoiser, sampler: str, x: Tensor, times: Tensor) -> int:
    """Draw one batch, with x for all noise, so that no time goes into drawing it; the network evaluations it took."""
    denoise, draw = Guided(model), SAMPLERS[sampler]
    noise = {"randn": lambda like: x} if "randn" in inspect.signature(draw).parameters else {}
    for _ in draw(denoise, x, times, **noise):
        pass
    return denoise.nfe


def peer(sampler: str, steps: int, x: Tensor) -> Callable[[], Callable[[], None]]:
    """diffusers' scheduler of the same steps, driven over its own grid by the same network without a network."""
    name, settings = PEERS[sampler]
    kind = getattr(diffusers, name)
    known = inspect.signature(kind.__init__).parameters
    # they ask for scale_model_input, which belongs to their pipelines
    diffusers.logging.set_verbosity_error()
    settings = settings | ({"timestep_spacing": "trailing"} if "timestep_spacing" in known else {})

    def prepare() -> Callable[[], None]:
        scheduler = kind(**settings)
        scheduler.set_timesteps(steps)
        module = sys.modules[kind.__module__]

        def work() -> None:
            state = x
            with patch.object(module, "randn_tensor", lambda *shape, **options: x, create=True):
                for t in scheduler.timesteps:
                    state = scheduler.step(state, t, state, return_dict=False)[0]

        return work

    return prepare


@torch.inference_mode()
def step_cost(sampler: str, steps: int, repeats: int) -> dict[str, float | None]:
    """Microseconds of a step by network evaluation, ours and diffusers', on 64 x 3 x 32 x 32 numbers, their noise given."""
    model = Denoiser(Echo(), DDPM(), "eps", SHAPE)
    times, x = time_grid(model.schedule, steps, "trailing"), torch.randn(BATCH, *SHAPE)
    calls = walk(model, sampler, x, times)
    works = [lambda: lambda: walk(model, sampler, x, times)] + (
        [peer(sampler, steps, x)] if sampler in PEERS else []
    )
    ours, *theirs = in_turn(works, repeats)
    figures = {"step_us": 1e6 * ours / calls, "diffusers_step_us": None, "over_diffusers": None}
    if theirs:
        scheduler = getattr(diffusers, PEERS[sampler][0])(**PEERS[sampler][1])
        scheduler.set_timesteps(steps)
        figures["diffusers_step_us"] = 1e6 * theirs[0] / len(scheduler.timesteps)
        figures["over_diffusers"] = figures["step_us"] / figures["diffusers_step_us"]
    return figures


def speed(
    model: Denoiser, samplers: list[str], steps: int = 8, repeats: int = 10
) -> Iterator[dict[str, Any]]:
    """A row a sampler: its time over NFE bare forward passes of the same batch, its step beside diffusers'.

    The batch is doubled until a forward pass lasts 20 ms.
    """
    for sampler in samplers:
        if sampler not in SAMPLERS:
            raise FastdiffError(f"sampler {sampler!r} is unknown, choose from {', '.join(SAMPLERS)}")
    times = time_grid(model.schedule, steps, "trailing")
    batch, forward = batch_of(model, 32, PASS)
    for sampler in samplers:
        made = partial(drawn, model, sampler, times, batch)
        try:
            nfe = made().nfe
        except FastdiffError:  # of this model's schedule: it has no row
            continue
        floor, ours = in_turn([bare(model, batch, nfe), lambda made=made: made], repeats)
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
    """Our DDIM over diffusers' DDIMPipeline of the same network, noise and output as arrays included; None of no folder."""
    plain = model.net.kind == "unet" and model.classes is None and not (model.latent or model.text)
    if not plain or not (Path(path) / "model_index.json").exists():
        return None
    diffusers.logging.disable_progress_bar()
    pipeline = diffusers.DDIMPipeline(model.net.module, diffusers.DDIMScheduler(timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)
    times = time_grid(model.schedule, steps, "trailing")
    theirs, ours = in_turn(
        [
            lambda: lambda: pipeline(batch_size=batch, num_inference_steps=steps, output_type="np"),
            lambda: lambda: to_uint8(drawn(model, "ddim", times, batch).x).cpu().numpy(),
        ],
        repeats,
    )
    return ours / theirs


def stored(
    model: Denoiser, path: str, samplers: list[str], steps: int, repeats: int = 5
) -> Iterator[dict[str, Any]]:
    """Those rows, ddim's with its whole time beside that of diffusers' pipeline of the same folder."""
    for row in speed(model, samplers, steps, repeats):
        if row["sampler"] == "ddim":
            row["over_pipeline"] = over_pipeline(path, model, steps, row["batch"], repeats)
        yield row


def line(row: dict[str, Any]) -> str:
    """A row in a line."""
    return f"{row['sampler']}  {row['over_forward']:.3f}"


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    shown = Table(
        "Sampler",
        *(
            Column(name, justify="right")
            for name in (
                "NFE",
                "over forward passes",
                "us a step",
                "diffusers us",
                "over diffusers",
                "over pipeline",
            )
        ),
    )
    for row in rows:
        figures = (
            f"{row['over_forward']:.3f}",
            *(
                "" if row.get(key) is None else f"{row[key]:{form}}"
                for key, form in (
                    ("step_us", ".0f"),
                    ("diffusers_step_us", ".0f"),
                    ("over_diffusers", ".2f"),
                    ("over_pipeline", ".2f"),
                )
            ),
        )
        shown.add_row(row["sampler"], str(row["nfe"]), *figures)
    return shown


def drawn(model: Denoiser, sampler: str, times: Tensor, batch: int) -> Made:
    """One batch as `sample` draws it, its noise included."""
    cond = {"label": torch.zeros(batch, dtype=torch.int64)} if model.guidance else None  # to be guided by
    plan = SamplingPlan(sampler, times)
    weight = usual_guidance(model)
    return next(generate(model, plan, torch.arange(batch), batch=batch, cond=cond, guidance=weight))
