"""The settings of a training, the same for every method."""

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

# Optimizers by name; each updates all weights in as few calls as possible.
OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "radam": partial(torch.optim.RAdam, foreach=True),
}
Optimizer = Literal["adam", "adamw", "radam"]

# Upper bounds exclude typing errors, and numbers for which no memory would suffice.
Steps = Annotated[int, Field(ge=1, le=10**9)]
StepsOrZero = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Rate = Annotated[float, Field(ge=0, le=1000)]
Norm = Annotated[float, Field(ge=0, le=10**9)]
Minutes = Annotated[float, Field(ge=0, le=10**7)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class RoleConfig(Strict):
    """The settings of one role, such as discriminator or fake; None takes the value of the training.

    Args:
        lr: learning rate after the warm-up, 0 to 1000.
        betas: decays of Adam's first and second moment, each in [0, 1).
        weight_decay: weight decay of the optimizer, 0 to 1000.
        optimizer: adam, adamw or radam.
        max_grad_norm: norm to which the role's gradient is clipped; 0 for no clipping.
    """

    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    optimizer: Optimizer | None = None
    max_grad_norm: float | None = None


@dataclass
class TrainConfig:
    """The settings of a training: the section `train` of a recipe, or of one of its stages.

    Args:
        steps: number of optimizer steps, at least 1. A step runs all turns of the method once.
        batch: number of examples per turn, over all processes.
        gradient_accumulation: number of parts in which each process computes the gradient of its examples.
            batch must be a multiple of gradient_accumulation times the number of processes.
        lr: learning rate after the warm-up, 0 to 1000.
        optimizer: adam, adamw or radam.
        betas: decays of Adam's first and second moment, each in [0, 1).
        weight_decay: weight decay of the optimizer, 0 to 1000.
        warmup: number of steps over which the learning rate rises linearly.
        lr_schedule: factor of the learning rate after the warm-up: constant, or linear or cosine to 0 at
            the last step.
        max_grad_norm: norm to which the gradient of each role is clipped; 0 for no clipping.
        roles: settings of single roles that override those of the training, by role.
        ema: decay of the exported running average per step, in [0, 1); 0 exports the weights themselves.
        flip: whether each image is mirrored with probability 1/2.
        precision: mixed precision (autocast) of the losses: no, bf16 or fp16.
        teacher_dtype: dtype of the frozen teacher's weights, float32 or bfloat16.
        export_dtype: dtype of the exported weights, float32 or float16.
        seed: seed of all random draws: order of the data, noise, times, dropout.
        max_skips: number of consecutive steps that may be skipped because a loss or gradient is not finite;
            with 0 the first such step ends the training.
        lora: settings of a low-rank adapter that is trained instead of the student's weights; None for no
            adapter.
        shard: whether weights, gradients and averages are split over the processes (FSDP2).
        offload: whether the frozen teacher stays in main memory.
        gradient_checkpointing: whether activations are recomputed in the backward pass (unet only).
        log_every: number of steps between lines of log.jsonl.
        save_every: number of steps between checkpoints.
        save_minutes: minutes after which a checkpoint is saved even between those.
        keep_last: number of newest checkpoints that stay on disk.
        sample_every: number of steps between sheets of samples; 0 for one at the end only.

    Raises:
        FastdiffError: for a number out of its bounds.
    """

    steps: Steps = 1000
    batch: Count = 128
    gradient_accumulation: Count = 1
    lr: Rate = 1e-3
    optimizer: Optimizer = "adam"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Rate = 0.0
    warmup: StepsOrZero = 0
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    max_grad_norm: Norm = 1.0
    roles: dict[str, RoleConfig] | None = None
    ema: Decay = 0.999
    flip: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    teacher_dtype: Literal["float32", "bfloat16"] = "float32"
    export_dtype: Literal["float32", "float16"] = "float32"
    seed: Seed = 0
    max_skips: StepsOrZero = 0
    lora: Lora | None = None
    shard: bool = False
    offload: bool = False
    gradient_checkpointing: bool = False
    log_every: Steps = 50
    save_every: Steps = 500
    save_minutes: Minutes = 5.0
    keep_last: Count = 2
    sample_every: StepsOrZero = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step, counted from 0."""
        ramp = min(1.0, (step + 1) / (self.warmup + 1))
        left = step / self.steps
        fall = {"constant": 1.0, "linear": 1 - left, "cosine": (1 + math.cos(math.pi * left)) / 2}[
            self.lr_schedule
        ]
        return self.lr * ramp * fall

    def of(self, role: str) -> "TrainConfig":
        """Return the settings of one role: those of the training, overridden by the role's own."""
        roles = self.roles or {}
        own = roles.get(role) or roles.get(ROLES.get(role, role)) or ()
        return replace(self, roles=None, **{name: value for name, value in own if value is not None})

    def check_shares(self, processes: int) -> None:
        """Raise FastdiffError for settings that do not work with this number of processes."""
        if self.batch % (self.gradient_accumulation * processes):
            raise FastdiffError(
                f"train.batch = {self.batch} is not divisible by gradient_accumulation "
                f"{self.gradient_accumulation} x {processes} processes: choose a multiple of "
                f"{self.gradient_accumulation * processes}"
            )
        if self.lora and self.shard:
            raise FastdiffError(
                "train.shard: expected false with an adapter, train.lora, which is not split over processes; "
                "leave one of the two out"
            )


# Settings that change how a training runs but not its result: a run may resume with other values.
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
    """Return a pydantic model of the names and types of the settings; TrainConfig checks the bounds."""
    types = get_type_hints(TrainConfig)  # without what Annotated adds
    return create_model(
        "TrainConfig",
        __base__=Strict,
        **{field.name: (types[field.name], field.default) for field in fields(TrainConfig)},
    )


def check_types(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Return plain settings converted to the types of TrainConfig, with defaults for missing ones.

    Args:
        settings: some of TrainConfig's fields, as read from a recipe.
        path: place of the settings in the recipe, for errors.

    Raises:
        FastdiffError: for an unknown name or a wrong type; bounds are not checked.
    """
    return dict(validate(types_schema(), renamed_settings(settings, path), path))


def merge_train_config(*settings: dict[str, Any], path: str) -> TrainConfig:
    """Merge plain settings into a TrainConfig.

    Args:
        settings: some of TrainConfig's fields each; later ones override earlier ones, in `roles` key by key.
        path: place of the settings in the recipe, for errors.

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
