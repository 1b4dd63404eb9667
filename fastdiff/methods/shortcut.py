"""Shortcut models (Frans et al. 2024): a jump equals two of half its length, the shortest the velocity."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.ema import decay_at
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..data.batch import Batch
from .base import Decay, Loss, Method, Nets, Progress, Turn, unwrap
from .diagnostics import by_level
from .distances import per_sample
from .meanflow import velocity_of


@dataclass
class Shortcut(Method):
    """Shortcut models (Frans et al. 2024): a jump of length d equals two of d / 2, d = 1, 1/2, ... 1 / steps.

    The loss is |v(x_t, t, d) - target|^2 per number, with v = eps - x0 the average velocity on the straight
    line and the target that of two jumps by the running average, or for the shortest jump the velocity of the
    data. The network takes d as the time at which the jump ends, s = t - d. The logged errors are squared.
    Needs images and no teacher.

    The authors also clip targets to [-4, 4], drop 10 % of the labels and guide the shortest jumps, with a
    weight decay of 0.1; none of these is needed for students that are sampled without guidance.

    Args:
        steps: number of shortest jumps from t_max to 0, a power of two, at least 2.
        share: fraction of the examples that learn a jump from two shorter ones, in (0, 1); the others learn
            the shortest jump by flow matching.
        mu: decay of the running average in [0, 1), which grows from 0.
    """

    steps: int = 128
    share: Annotated[float, Field(gt=0, lt=1)] = 0.125
    mu: Decay = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2 or self.steps & (self.steps - 1):
            raise FastdiffError(f"steps = {self.steps}: expected a power of two, at least 2", key="steps")

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_second_time(model)

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        # The decay grows to mu, so that the untrained student has little weight in the average.
        return {"target": lambda progress: decay_at(self.mu, progress.step)}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        x0 = batch.x0

        # 1. Sample jumps d and times t, noise, and x_t; the jump goes from t via mid to s.
        bootstrapped, d, t = self.jumps(batch.rng)
        t, mid, s = (schedule.t_max * time for time in (t, t - d / 2, t - d))
        x_t, eps = batch.noised(schedule, t)

        # 2. The average velocity of the jump, with gradients.
        v = velocity_of(nets["student"](x_t, t, s, batch.cond))

        # 3. Its target: the velocity, or two jumps of half the length by the running average.
        v_target = eps - x0
        rows = bootstrapped.nonzero()[:, 0]
        if len(rows):
            cond = batch.cond and {name: value[rows] for name, value in batch.cond.items()}
            v_target[rows] = two_jumps(nets["target"], x_t[rows], t[rows], mid[rows], s[rows], cond)

        # 4. The mean squared error.
        error = per_sample((v - v_target).square())
        seen = error.detach()
        flow = (~bootstrapped).to(error)
        logs = by_level("self_error", seen[rows], t[rows] / schedule.t_max) if len(rows) else {}
        return error.mean(), logs | {"flow": (flow * seen).sum() / flow.sum().clamp(min=1)}

    def jumps(self, rng: SampleRng) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the mask of examples that learn from two jumps, d, and t = d, 2 d, ... 1, each (B,)."""
        bootstrapped = rng.uniform() < self.share
        longer = 2.0 ** -rng.integers(0, int(math.log2(self.steps))).double()
        d = torch.where(bootstrapped, longer, 1 / self.steps)
        return bootstrapped, d, d * (1 + (rng.uniform() / d).floor())

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


@torch.no_grad()
def two_jumps(net: Denoiser, x: Tensor, t: Tensor, mid: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """Return the average velocity (B, ...) of two consecutive jumps, from x = x_t via mid to s.

    Each has a weight proportional to its length on the straight line.
    """
    schedule = net.schedule
    first = net(x, t, mid, cond)
    second = net(schedule.mix(*first, mid), mid, s, cond)
    u_t, u_mid, u_s = (schedule.straight(time) for time in (t, mid, s))
    fraction = like((u_t - u_mid) / (u_t - u_s), x)
    return fraction * velocity_of(first) + (1 - fraction) * velocity_of(second)
