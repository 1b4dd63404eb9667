"""Settings of a training, the same for every method."""

import math
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import BaseModel, Field, create_model

from ..core.errors import FastdiffError
from ..core.former_names import ROLES, renamed_settings
from ..core.validation import Strict, check_bounds, validate
from ..networks.lora import Lora

# Each updates all weights in as few calls as it can.
OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "radam": partial(torch.optim.RAdam, foreach=True),
}
Optimizer = Literal["adam", "adamw", "radam"]

# Upper bounds are where a number is a slip, or where no memory would suffice.
Steps = Annotated[int, Field(ge=1, le=10**9)]
StepsOrNone = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Rate = Annotated[float, Field(ge=0, le=1000)]
Norm = Annotated[float, Field(ge=0, le=10**9)]
Minutes = Annotated[float, Field(ge=0, le=10**7)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class RoleConfig(Strict):
    """Settings of one role; those that are None are the training's."""

    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    optimizer: Optimizer | None = None
    max_grad_norm: float | None = None


@dataclass
class TrainConfig:
    """Settings of a training."""

    steps: Steps = 1000  # updates of the student, or of the roles that learn in its place
    batch: Count = 128  # examples of one step, over all processes
    gradient_accumulation: Count = 1  # parts in which each process takes its share of the batch
    lr: Rate = 1e-3  # learning rate after the warm-up
    optimizer: Optimizer = "adam"  # a key of OPTIMIZERS
    betas: tuple[Decay, Decay] = (0.9, 0.999)  # decays of Adam's two moments
    weight_decay: Rate = 0.0  # of the optimizer
    warmup: StepsOrNone = 0  # steps of linear warm-up
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # the learning rate after the warm-up
    max_grad_norm: Norm = 1.0  # largest norm of each role's gradient; 0: no limit
    roles: dict[str, RoleConfig] | None = None  # settings of single roles
    ema: Decay = 0.999  # decay of the exported average; 0 exports the weights themselves
    flip: bool = False  # mirror each image with probability one half
    precision: Literal["no", "bf16", "fp16"] = "no"  # mixed precision
    teacher_dtype: Literal["float32", "bfloat16"] = "float32"  # dtype of the frozen teacher's weights
    export_dtype: Literal["float32", "float16"] = "float32"  # dtype of the exported weights
    seed: Seed = 0  # of everything that a training draws
    max_skips: StepsOrNone = 0  # consecutive steps that may be skipped as not finite; 0: the first ends it
    lora: Lora | None = None  # a low-rank adapter, trained in place of the student's weights
    shard: bool = False  # split weights, gradients and averages over the processes (FSDP2)
    offload: bool = False  # keep the frozen teacher in main memory
    gradient_checkpointing: bool = False  # compute activations again in the backward pass
    log_every: Steps = 50  # steps between lines of the log
    save_every: Steps = 500  # steps between saved states
    save_minutes: Minutes = 5.0  # minutes after which a state is saved between those
    keep_last: Count = 2  # saved states that stay, the newest
    sample_every: StepsOrNone = 0  # steps between sheets of samples; 0: at the end only

    def __post_init__(self) -> None:
        check_bounds(self)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        ramp = min(1.0, (step + 1) / (self.warmup + 1))
        left = step / self.steps
        fall = {"constant": 1.0, "linear": 1 - left, "cosine": (1 + math.cos(math.pi * left)) / 2}[
            self.lr_schedule
        ]
        return self.lr * ramp * fall

    def of(self, role: str) -> "TrainConfig":
        """Return the settings of one role: these, with the role's own in their place."""
        own = (self.roles or {}).get(ROLES.get(role, role), ())
        return replace(self, roles=None, **{name: value for name, value in own if value is not None})

    def check_shares(self, processes: int) -> None:
        """Raise FastdiffError for settings that a number of processes cannot share."""
        if self.batch % (self.gradient_accumulation * processes):
            raise FastdiffError(
                f"train.batch = {self.batch} is not divisible by gradient_accumulation "
                f"{self.gradient_accumulation} x {processes} processes"
            )
        if self.lora and self.shard:
            raise FastdiffError(
                "train.shard: an adapter, train.lora, is not split over processes: leave one of them out"
            )


# Settings that decide how a training runs and not what comes of it: a run may resume with others.
CHANGEABLE_ON_RESUME = (
    "gradient_accumulation",
    "shard",
    "offload",
    "gradient_checkpointing",
    "log_every",
    "save_every",
    "save_minutes",
    "keep_last",
    "sample_every",
    "max_skips",
)


@cache
def types_schema() -> type[BaseModel]:
    """Return a pydantic model of the settings' names and types; bounds are left to TrainConfig."""
    types = get_type_hints(TrainConfig)  # without what Annotated adds
    return create_model(
        "TrainConfig",
        __base__=Strict,
        **{field.name: (types[field.name], field.default) for field in fields(TrainConfig)},
    )


def check_types(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Return plain settings, converted to the types of TrainConfig, with defaults for those not given.

    Args:
        settings: some of TrainConfig's fields, as read from a recipe.
        path: where the settings stand, for errors.

    Raises:
        FastdiffError: for an unknown name or a wrong type; numbers out of bounds pass.
    """
    return dict(validate(types_schema(), renamed_settings(settings, path), path))


def read(*settings: dict[str, Any], path: str) -> TrainConfig:
    """Merge plain settings and check them.

    Args:
        settings: the later ones override the earlier ones; those of a role key by key.
        path: where the settings stand, for errors.

    Raises:
        FastdiffError: for an unknown name, a wrong type, or a number out of bounds.
    """
    merged: dict[str, Any] = {}
    roles: dict[str, dict[str, Any]] = {}
    for some in settings:
        check_types(some, path)
        some = renamed_settings(some, path)
        merged |= some
        for role, own in (some.get("roles") or {}).items():
            roles[role] = roles.get(role, {}) | own
    typed = check_types(merged | {"roles": roles}, path)
    try:
        config = TrainConfig(**typed)
    except FastdiffError as error:
        raise FastdiffError(f"{path}.{error}") from None
    for role in roles:
        try:
            config.of(role)
        except FastdiffError as error:
            raise FastdiffError(f"{path}.roles.{role}.{error}") from None
    return config
