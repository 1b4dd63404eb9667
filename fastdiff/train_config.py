"""Settings of a training, the same for every method."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field

from .settings import Strict

# Each updates all weights in as few calls as it can.
OPTIMIZERS = {"adam": partial(torch.optim.Adam, fused=True), "adamw": partial(torch.optim.AdamW, fused=True),
              "radam": partial(torch.optim.RAdam, foreach=True)}


class Lora(Strict):
    """A low-rank adapter, the student's only weights that are trained. alpha: what it counts for, rank if not given.

    targets: parts of the names of the layers it is on, such as to_q; if none are given, attention, of unet convolutions too.
    """

    rank: Annotated[int, Field(ge=1, le=2**16)] = 64
    alpha: Annotated[float, Field(gt=0)] | None = None
    targets: tuple[str, ...] = ()


@dataclass
class TrainConfig:
    """batch: examples a step, over all processes.

    accumulate: parts in which each process takes its share of the batch. shard: weights, gradients and averages are split
    over the processes (FSDP2). offload: the frozen teacher stays in main memory. max_skips: steps in a row that may be
    skipped because a loss or gradient is not finite; 0 ends the training at the first.
    """

    steps: int = 1000
    batch: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    optimizer: Literal["adam", "adamw", "radam"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0                                       # steps of linear warm-up
    decay: Literal["constant", "linear", "cosine"] = "constant"
    clip: float = 1.0                                     # of each role's gradient norm; 0: none
    ema: float = 0.999                                    # decay of the exported average; 0 exports the weights themselves
    flip: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    export: Literal["float32", "float16"] = "float32"
    seed: int = 0
    max_skips: int = 0
    lora: Lora | None = None
    shard: bool = False
    offload: bool = False
    gradient_checkpointing: bool = False                  # activations are computed again on the way back
    log_every: int = 50
    save_every: int = 500
    save_minutes: float = 5.0
    keep: int = 2                                         # the newest states
    sample_every: int = 0                                 # 0: at the end only

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        ramp, left = min(1.0, (step + 1) / (self.warmup + 1)), step / self.steps
        fall = {"constant": 1.0, "linear": 1 - left, "cosine": (1 + math.cos(math.pi * left)) / 2}[self.decay]
        return self.lr * ramp * fall


# Settings that decide how a training runs and not what comes of it: a run goes on with others.
FREE = ("accumulate", "shard", "offload", "gradient_checkpointing", "log_every", "save_every", "save_minutes", "keep",
        "sample_every", "max_skips")
