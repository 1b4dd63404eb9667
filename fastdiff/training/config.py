"""Settings of a training, the same for every method."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from ..core.errors import FastdiffError
from ..core.validation import Strict, schema, validate
from ..networks.lora import Lora

# Each updates all weights in as few calls as it can.
OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "radam": partial(torch.optim.RAdam, foreach=True),
}
Optimizer = Literal["adam", "adamw", "radam"]
# The least that settings of a training may be.
LEAST = {
    "steps": 1,
    "batch": 1,
    "accumulate": 1,
    "log_every": 1,
    "save_every": 1,
    "warmup": 0,
    "sample_every": 0,
    "lr": 0,
    "clip": 0,
    "ema": 0,
    "weight_decay": 0,
    "save_minutes": 0,
    "seed": 0,
    "max_skips": 0,
    "keep": 1,
}
# And the most, beyond which a number is a slip, or no memory would do.
MOST = {
    "steps": 10**9,
    "batch": 10**6,
    "accumulate": 10**6,
    "log_every": 10**9,
    "save_every": 10**9,
    "warmup": 10**9,
    "sample_every": 10**9,
    "lr": 1000,
    "clip": 10**9,
    "weight_decay": 1000,
    "save_minutes": 10**7,
    "seed": 2**63 - 1,
    "max_skips": 10**9,
    "keep": 10**6,
}


class Own(Strict):
    """What a role has of its own; the rest is the training's."""

    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    optimizer: Optimizer | None = None
    clip: float | None = None


@dataclass
class TrainConfig:
    """batch: examples a step, over all processes.

    accumulate: parts in which each process takes its share of the batch. roles: what each of them has of its
    own. teacher: what the frozen teacher's weights are kept in. shard: weights, gradients and averages are
    split over the processes (FSDP2). offload: the frozen teacher stays in main memory. max_skips: steps in a
    row that may be skipped because a loss or gradient is not finite; 0 ends the training at the first.
    """

    steps: int = 1000
    batch: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    optimizer: Optimizer = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0  # steps of linear warm-up
    decay: Literal["constant", "linear", "cosine"] = "constant"
    clip: float = 1.0  # of each role's gradient norm; 0: none
    roles: dict[str, Own] | None = None
    ema: float = 0.999  # decay of the exported average; 0 exports the weights themselves
    flip: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    teacher: Literal["float32", "bfloat16"] = "float32"
    export: Literal["float32", "float16"] = "float32"
    seed: int = 0
    max_skips: int = 0
    lora: Lora | None = None
    shard: bool = False
    offload: bool = False
    gradient_checkpointing: bool = False  # activations are computed again on the way back
    log_every: int = 50
    save_every: int = 500
    save_minutes: float = 5.0
    keep: int = 2  # the newest states
    sample_every: int = 0  # 0: at the end only

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        ramp, left = min(1.0, (step + 1) / (self.warmup + 1)), step / self.steps
        fall = {"constant": 1.0, "linear": 1 - left, "cosine": (1 + math.cos(math.pi * left)) / 2}[self.decay]
        return self.lr * ramp * fall

    def of(self, role: str) -> "TrainConfig":
        """Itself with what a role has of its own."""
        own = (self.roles or {}).get(role, ())
        return replace(self, roles=None, **{name: value for name, value in own if value is not None})


# Settings that decide how a training runs and not what comes of it: a run goes on with others.
FREE = (
    "accumulate",
    "shard",
    "offload",
    "gradient_checkpointing",
    "log_every",
    "save_every",
    "save_minutes",
    "keep",
    "sample_every",
    "max_skips",
)


def read(*settings: dict[str, Any], path: str) -> TrainConfig:
    """Plain settings, of which the later count, those of a role key by key; checked, in complaints under their path."""
    kind, merged = schema(TrainConfig, path), {}
    for some in settings:
        validate(kind, some, path)
        roles, own = merged.get("roles") or {}, some.get("roles") or {}
        merged |= some | {"roles": roles | {role: roles.get(role, {}) | own[role] for role in own}}
    config = TrainConfig(**dict(validate(kind, merged, path)))
    for role, one in (("", config), *((f"roles.{role}.", config.of(role)) for role in config.roles or ())):
        check(one, f"{path}.{role}")
    return config


def check(config: TrainConfig, path: str) -> None:
    """Refuse numbers out of their range; path: what their names stand behind."""
    for what, least in LEAST.items():
        if not getattr(config, what) >= least:  # so that nan is refused too
            raise FastdiffError(f"{path}{what} = {getattr(config, what)}: expected at least {least}")
    for what, most in MOST.items():
        if getattr(config, what) > most:
            raise FastdiffError(f"{path}{what} = {getattr(config, what)}: expected at most {most}")
    for what, share in (("ema", config.ema), *(("betas", beta) for beta in config.betas)):
        if not 0 <= share < 1:
            raise FastdiffError(f"{path}{what} = {share}: expected 0 to less than 1")
