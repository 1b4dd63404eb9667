"""Consistency distillation (Song et al. 2023, algorithm 2)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from ..core.schedule import Schedule
from ..data.batch import Batch
from .base import Decay, Nets, Progress, heun, unwrap
from .distances import Distance, PseudoHuber, SquaredL2
from .ect import ECT
from .loss_weights import LevelWeight, snr_weight
from .time_sampling import KarrasIndex, TimeDistribution


@dataclass
class CD(ECT):
    """CD (Song et al. 2023, algorithm 2): consistency distillation, with x_s a teacher's step from x_t.

    The loss is weight(SNR) distance(f(x_t, t), f-(x_s, s)), where x_s is one ODE step of the teacher; on
    continuous times it is divided by the gap, as in ECT. Other settings are those of ECT. Needs a teacher and
    images.

    The defaults are the paper's for CIFAR-10 but for the distance, which is lpips there; for ImageNet they
    are times: {name: karras, points: 40} and mu: 0.95. Without lpips a weight by noise level matters:
    a constant weight of the error in x0 leaves the student's own output free at low noise.

    Args:
        times: distribution of t, a key of TIME_DISTRIBUTIONS.
        distance: distance between f and its target, a key of DISTANCES.
        solver: solver of the teacher's step, euler (1 evaluation) or heun (2); both are exact if (x0, eps) is
            constant along the step.
        mu: decay in [0, 1) of the running average of the student that is the target f-; 0 for the student.
        weight: weight by noise level: none, truncated_snr or snr_plus_1, of a distance of first degree the
            root, see `snr_weight`.
    """

    times: TimeDistribution = field(default_factory=KarrasIndex)
    distance: Distance = SquaredL2()
    solver: Literal["euler", "heun"] = "heun"
    mu: Decay = 0.0
    weight: LevelWeight = "none"

    first_defaults: ClassVar[dict[str, Any]] = ECT.first_defaults | {
        "distance": PseudoHuber(),
        "solver": "euler",
    }
    needs_teacher: ClassVar[bool] = True

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": lambda progress: self.mu} if self.mu else {}

    @override
    def x_at_s(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
        schedule = unwrap(nets["student"]).schedule
        teacher = nets["teacher"]
        if self.solver == "heun":
            return heun(teacher, schedule, x, t, s, batch.cond)
        return schedule.mix(*teacher(x, t, s, batch.cond), s)

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        on_grid = isinstance(self.times, KarrasIndex)
        gap = torch.ones_like(t) if on_grid else super().width(schedule, t, s)
        return gap / snr_weight(self.weight, schedule, t, self.distance.degree)

    @override
    def teacher_nfe(self) -> int:
        return {"euler": 1, "heun": 2}[self.solver]
