"""Schedulers of diffusers that walk as a model's own sampler does: class, configuration, and how a loop calls them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import torch
from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.prediction import ROWS, TIME_INPUTS
from ...core.schedule import Flow, Karras, Schedule, Trig
from ...core.validation import spelled
from ...samplers import time_grid
from ...samplers.few_step import below
from ...samplers.time_grids import falling
from ..diffusers_names import DIFFUSERS_NAMES, LCM_NAMES, table_betas, table_config, variance_preserving

RAMPS = (
    40,
    10**6 + 1,
)  # points of a consistency scheduler's ramp: as published, and so many that any level is one
RHO, SIGMA_MIN = 7.0, 0.002
FALLS = 8  # entries of a made table at alpha^2 = 1/4, 1/16, ...: a beta near 1 would round in float32

NOISE = ("generator=generator",)

Grids = dict[int, Tensor]


class Unlike(Exception):
    """Why no scheduler of diffusers walks as a model's sampler does."""


@dataclass(frozen=True)
class Stock:
    """A scheduler of diffusers, and in Python's words the loop around it.

    t is the scheduler's timestep and s the next one, `end` after the last. clock: the network's time is a t +
    b; or it is times[t], where a table was made of the very times. grids and etas: by the number of steps.
    """

    scheduler: str
    config: dict[str, Any]
    prepare: str  # arguments of set_timesteps
    first: str  # standard deviation of the first x
    clock: tuple[float, float] = (1.0, 0.0)
    end: float = 0.0
    times: list[float] = field(default_factory=list)
    walked: str = "scheduler.timesteps"
    landing: str = "next"  # where a network of two times is told that it jumps to: or data, eta
    inner: str = "x"  # what goes into the network
    factor: float = 1.0  # what its output is multiplied by
    options: tuple[str, ...] = ()  # of step
    grids: dict[int, list[float]] = field(default_factory=dict)
    etas: dict[int, list[float]] = field(default_factory=dict)

    @property
    def noisy(self) -> bool:
        """Whether its steps draw noise."""
        return NOISE[0] in self.options


def stock(model: Denoiser) -> Stock | str:
    """The scheduler that samples as the model's own sampler does on its own grids, or why there is none."""
    import diffusers

    own = model.sampling
    name, options = spelled(own.sampler, "sampler")
    counts = {*own.steps, *(len(times) for times in own.times if not own.only)}
    grids = {n: time_grid(model.schedule, n, own.spacing_for(n)) for n in sorted(counts)}
    try:
        found = WALKS.get((type(model.schedule), name), preserving)(model, name, options, grids)
    except Unlike as why:
        return str(why)
    return (
        found
        if hasattr(diffusers, found.scheduler)
        else f"diffusers {diffusers.__version__} has no {found.scheduler}"
    )


# ---- on a table, where alpha^2 + sigma^2 = 1


def preserving(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """On the schedule's own table where the grid lies on it; else on one that is made of the grid's times."""
    if not variance_preserving(model.schedule):
        raise Unlike(f"no scheduler of diffusers samples by {model.sampling.sampler} on {model.schedule}")
    if name == "gamma" and not float(options.get("gamma", 0)):
        name, options = "ddim", {}
    if name in ("ddim", "ddpm", "consistency"):
        try:
            return own_table(model, name, options, grids)
        except Unlike:
            if model.predicts in LCM_NAMES or name == "ddpm":
                raise
    return made_table(model, name, options, grids)


def own_table(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """DDIM, DDPM, LCM and TCD, by the training timesteps of the schedule: entry i is t = i + 1 of `timesteps`."""
    schedule, count = model.schedule, model.schedule.timesteps
    entries = {n: times[:-1] * count / schedule.t_max - 1 for n, times in grids.items()}
    equal = all(
        count % n == 0 and alike(at, count - 1 - torch.arange(n) * (count // n)) for n, at in entries.items()
    )
    shared = tabular(model) | clocked(model, lambda t: count * t / schedule.t_max - 1)
    config = shared.pop("config") | {
        "num_train_timesteps": count,
        **table_config(schedule),
        "clip_sample": False,
    }
    eta = float(options.get("eta", 0))
    if name == "ddpm" or name == "ddim" and (equal or eta):
        if not equal or options.get("variance", "small") != "small":
            raise Unlike(
                f"the {name.upper()}Scheduler of diffusers takes equal strides of {count} timesteps, and the small "
                "variance"
            )
        noise = (f"eta={eta:g}", *NOISE) if eta else NOISE if name == "ddpm" else ()
        return Stock(
            f"{name.upper()}Scheduler",
            config | {"timestep_spacing": "trailing"},
            "steps",
            options=noise,
            **shared,
        )
    if not all(alike(at, at.round()) and at.min() > 0.5 for at in entries.values()):
        raise Unlike(f"the LCMScheduler of diffusers knows {count} timesteps alone")
    listed = {n: at.round().long().tolist() for n, at in entries.items()}
    points = striding(count, listed)
    shared |= {"prepare": "steps"} if points else {"prepare": "timesteps=grids[steps]", "grids": listed}
    config["original_inference_steps"] = points or count
    if name == "ddim":  # whose last step is to entry 0, which is to be clean data
        first, second, *others = table_betas(schedule)
        return Stock(
            "TCDScheduler",
            config
            | {
                "trained_betas": [0.0, first + second - first * second, *others],
                "rescale_betas_zero_snr": False,
            },
            options=("eta=0.0",),
            **shared,
        )
    least = min(
        float(at.min()) for at in entries.values()
    )  # the boundary condition of 10 is x0 to 1e-6 from 50 on
    config["timestep_scaling"] = 10.0 if model.predicts in LCM_NAMES or least >= 50 else 1e4
    return Stock("LCMScheduler", config, landing="data", options=NOISE, **shared)


def striding(count: int, grids: dict[int, list[int]]) -> int | None:
    """The original_inference_steps with which LCMScheduler and TCDScheduler find these timesteps themselves."""
    import diffusers

    def found(points: int, n: int) -> list[int]:
        scheduler = diffusers.LCMScheduler(count, original_inference_steps=points)
        scheduler.set_timesteps(n)
        return scheduler.timesteps.tolist()

    stride = gcd(*(entry + 1 for entries in grids.values() for entry in entries))
    return next(
        (
            points
            for points in (count, count // stride)
            if all(n <= points and found(points, n) == entries for n, entries in grids.items())
        ),
        None,
    )


def made_table(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """LCM and TCD, by a table whose entries are the times of the grids and of their jumps; entry 0 is clean data."""
    schedule = model.schedule
    landings = {
        "consistency": lambda times: torch.zeros(0),
        "ddim": lambda times: times[1:],
        "gamma": lambda times: below(schedule, times[1:], float(options.get("gamma", 0))),
        "overshoot": lambda times: torch.cat([times[2:], times[-1:]]),
    }
    if name not in landings or float(options.get("eta", 0)):
        raise Unlike(f"no scheduler of diffusers samples by {model.sampling.sampler} on this grid")
    targets = {n: landings[name](times).double() for n, times in grids.items()}
    falls = schedule.time_of((4 ** torch.arange(1, FALLS + 1, dtype=torch.float64) - 1).sqrt())
    first = max(float(times[0]) for times in grids.values())
    levels = torch.cat([*grids.values(), *targets.values(), falls[falls < first]]).unique()
    alpha = schedule.alpha_sigma(levels)[0]

    def place(times: Tensor) -> list[int]:
        return torch.searchsorted(levels, times).tolist()

    shared = tabular(model)
    config = shared.pop("config") | {
        "num_train_timesteps": len(levels),
        "original_inference_steps": len(levels),
        "trained_betas": [0.0, *(1 - (alpha[1:] / alpha[:-1]).square()).tolist()],
    }
    shared |= {
        "prepare": "timesteps=grids[steps]",
        "grids": {n: place(times[:-1]) for n, times in grids.items()},
        "times": [round(time, 9) for time in TIME_INPUTS[model.time_input](levels, schedule).tolist()],
    }
    if name == "consistency":
        return Stock(
            "LCMScheduler", config | {"timestep_scaling": 1e4}, landing="data", options=NOISE, **shared
        )
    etas = {
        n: [share(*pair) for pair in zip(place(grids[n][1:]), place(target))] for n, target in targets.items()
    }
    return Stock("TCDScheduler", config, landing="eta", options=("eta=eta", *NOISE), etas=etas, **shared)


def share(s: int, u: int) -> float:
    """TCD's eta with which floor((1 - eta) s) is u, by a margin of half an entry."""
    return 1 - (u + 0.5) / s if u < s else 0.0


def tabular(model: Denoiser) -> dict[str, Any]:
    """What all loops over a table share."""
    found = {
        theirs: number for ours, theirs in DIFFUSERS_NAMES.items() if (number := proportion(model, ours))
    }
    if model.predicts in LCM_NAMES:
        found = {LCM_NAMES[model.predicts]: 1.0}
    if not found:
        raise Unlike(
            f"no scheduler of diffusers takes what this network predicts, {model.predicts}, on {model.schedule}"
        )
    [(name, factor)] = found.items()
    return {
        "config": {"prediction_type": name, "steps_offset": 1},
        "factor": factor,
        "inner": scaled(model),
        "first": "(1 - scheduler.alphas_cumprod[scheduler.timesteps[0]]) ** 0.5",
    }


# ---- in levels of noise


def line(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """Euler's steps of flow matching, or jumps to the data with fresh noise."""
    if model.schedule.shift != 1:
        raise Unlike("the flow schedulers of diffusers tell a network the shifted time")
    if not (factor := proportion(model, "velocity")) or options:
        raise Unlike(
            f"the flow schedulers of diffusers take a velocity, by ddim, euler or consistency: not "
            f"{model.predicts} by {model.sampling.sampler}"
        )
    told = clocked(model, lambda t: 1000 * t) | {
        "factor": factor,
        "inner": scaled(model),
        "first": "scheduler.sigmas[0]",
    }
    grid, listed = written(model.schedule, grids)
    if name == "consistency":
        return Stock(
            "FlowMatchEulerDiscreteScheduler",
            {"stochastic_sampling": True},
            f"sigmas={grid}",
            grids=listed,
            landing="data",
            options=NOISE,
            **told,
        )
    kind = "FlowMapEulerDiscreteScheduler" if model.two_times else "FlowMatchEulerDiscreteScheduler"
    return Stock(kind, {}, f"sigmas={grid}", grids=listed, **told)


def trigonometric(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """Jumps to the data with fresh noise, as of sCM."""
    if not (factor := proportion(model, "velocity")):
        return preserving(model, name, options, grids)
    grid, listed = written(model.schedule, grids)
    told = clocked(model, lambda t: t)
    return Stock(
        "SCMScheduler",
        {"sigma_data": model.schedule.sigma_data},
        f"steps, timesteps=[*{grid}, 0.0], max_timesteps=None, intermediate_timesteps=None",
        factor=factor,
        first="scheduler.config.sigma_data * scheduler.timesteps[0].sin()",
        inner=scaled(model),
        grids=listed,
        walked="scheduler.timesteps[:-1]",
        landing="data",
        options=NOISE,
        **told,
    )


def exploding(model: Denoiser, name: str, options: dict[str, str], grids: Grids) -> Stock:
    """EDM's Euler steps, or a consistency model's jumps to the data with fresh noise."""
    top = max(float(times[0]) for times in grids.values())
    low = SIGMA_MIN if model.predicts == "cm" else 0.0
    if not (model.predicts == "cm" and name == "consistency") and proportion(model, "edm") != 1:
        raise Unlike(
            f"the schedulers of diffusers take EDM's or a consistency model's network on {model.schedule}, "
            f"not {model.predicts} by {name}"
        )
    shared = {
        "inner": "scheduler.scale_model_input(x, t)" if model.scale_input else "x",
        "first": "scheduler.sigmas[0]",
    }
    config = {"sigma_data": model.sigma_data, "sigma_max": top, "rho": RHO}
    if name == "consistency":
        if low and any((times[1:-1] < 25 * low).any() for times in grids.values()):
            raise Unlike(
                "CMStochasticIterativeScheduler adds less noise, by sigma_min, and the grid comes near it"
            )
        places = {n: ramp(times[:-1], low, top) for n, times in grids.items()}
        points = next(
            count
            for count in RAMPS
            if count == RAMPS[-1]
            or all(alike(at * (count - 1), (at * (count - 1)).round()) for at in places.values())
        )
        return Stock(
            "CMStochasticIterativeScheduler",
            config | {"sigma_min": low, "num_train_timesteps": points, "clip_denoised": False},
            "timesteps=grids[steps]",
            options=NOISE,
            landing="data",
            grids={n: (at * (points - 1)).round().long().tolist()[::-1] for n, at in places.items()},
            **shared,
            **clocked(model, lambda t: 250 * t.log()),
        )
    places = {n: ramp(times[:-1], SIGMA_MIN, top) for n, times in grids.items()}
    equal = all(alike(at, torch.linspace(0, 1, n, dtype=torch.float64)) for n, at in places.items())
    return Stock(
        "EDMEulerScheduler",
        config | {"sigma_min": SIGMA_MIN},
        "steps" if equal else "steps, sigmas=torch.tensor(grids[steps], dtype=torch.float64)",
        grids={} if equal else {n: at.tolist() for n, at in places.items()},
        **shared,
        **clocked(model, lambda t: t.log() / 4),
    )


WALKS: dict[tuple[type[Schedule], str], Callable[[Denoiser, str, dict[str, str], Grids], Stock]] = {
    (Flow, "ddim"): line,
    (Flow, "euler"): line,
    (Flow, "consistency"): line,
    (Trig, "consistency"): trigonometric,
    (Karras, "ddim"): exploding,
    (Karras, "euler"): exploding,
    (Karras, "consistency"): exploding,
}


def ramp(sigma: Tensor, low: float, top: float) -> Tensor:
    """Where levels lie on Karras' ramp from the highest (0) to the lowest (1)."""
    first, last = top ** (1 / RHO), low ** (1 / RHO)
    return (first - sigma ** (1 / RHO)) / (first - last)


def written(schedule: Schedule, grids: Grids) -> tuple[str, dict[int, list[float]]]:
    """The grid of `steps` steps in Python's words, without its 0, and the lists that those words look up."""
    if all(alike(times, schedule.t_max * falling(n)) for n, times in grids.items()):
        top = "" if schedule.t_max == 1 else f"{schedule.t_max:.15g} * "
        return f"[{top}(1 - i / steps) for i in range(steps)]", {}
    return "grids[steps]", {n: times[:-1].tolist() for n, times in grids.items()}


# ---- what a network is asked and answers


def proportion(model: Denoiser, row: str) -> float | None:
    """The number by which the network's output is what a row of ROWS says; None where there is no such number."""
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64) * model.schedule.t_max
    (a, b), (c, d) = model.row(t), ROWS[row](model.schedule, t, model.sigma_data)
    number = float((a * c + b * d).sum() / (a * a + b * b).sum())
    return number if alike(number * a, c) and alike(number * b, d) else None


def clocked(model: Denoiser, theirs: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """How the network's time follows from the scheduler's, and the scheduler's time of clean data."""
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    here, there = (
        TIME_INPUTS[model.time_input](of, model.schedule) for of in (t, torch.zeros(1, dtype=torch.float64))
    )
    a = float((here[-1] - here[0]) / (theirs(t)[-1] - theirs(t)[0]))
    b = float(here[0] - a * theirs(t)[0])
    if not alike(a * theirs(t) + b, here):
        raise Unlike(
            f"the network's clock, {model.time_input}, is not that of diffusers' scheduler on {model.schedule}"
        )
    return {"clock": (round(a, 12), round(b, 9)), "end": round(float(there - b) / a, 9)}


def scaled(model: Denoiser) -> str:
    """The network's input, where that is x times a number."""
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    scale = model.entrance(t)[0]
    if not alike(scale, scale[0].expand_as(scale)):
        raise Unlike(
            f"no scheduler of diffusers scales a network's input as sigma_data = {model.sigma_data:g} asks for on "
            f"{model.schedule}"
        )
    return "x" if alike(scale[0], torch.ones(())) else f"{float(scale[0]):.9g} * x"


def alike(one: Tensor, other: Tensor) -> bool:
    """Equal to about nine digits."""
    return torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
