"""ECT (Geng et al. 2024, "Consistency models made easy"): consistency training on continuous times."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from .base import Progress
from .consistency import FEW_STEPS, Consistency
from .distances import Distance, PseudoHuber
from .time_sampling import KarrasIndex, LogNormal, TimeDistribution, Uniform


@dataclass
class ECT(Consistency):
    """ECT (Geng et al. 2024): consistency training on continuous times with a shrinking gap.

    The loss is distance(f(x_t, t), sg f(x_s, s)) / (r(t) - r(s)), with r = sigma / alpha, x_s of the same
    data and noise as x_t, and r(s) = r(t) (1 - gap n(t)), n(t) = 1 + k sigmoid(-b r(t)). On a grid (times:
    karras) s is the grid point below t instead. Needs images and no teacher.

    The defaults are those of the authors' CIFAR-10 trainings but for the distance, whose C there is 0; there
    is no bound of the gradient's norm there either (train.max_grad_norm: null).

    Args:
        times: distribution of t, a key of TIME_DISTRIBUTIONS.
        start: initial gap as a fraction of t, in (0, 1].
        halvings: number of times that the gap is halved during the training.
        distance: distance between f and its target, a key of DISTANCES.
        k: factor by which the gap is wider near the data, at least 0; 0 for a constant factor.
        b: scale of sigma / alpha in n(t).
        images: number of images between two halvings, 3,200,000 in the paper; 0 for equal intervals.
        clock: what the gap is a fraction of, and the loss is divided by: sigma for sigma / alpha, as in the
            paper; time for the schedule's t / t_max, on which far larger gaps at high noise are accurate
            steps of a teacher.
    """

    times: TimeDistribution = field(default_factory=lambda: LogNormal(-1.1, 2.0))
    start: Annotated[float, Field(gt=0, le=1)] = 0.5
    halvings: int = 7
    distance: Distance = PseudoHuber()
    k: Annotated[float, Field(ge=0)] = 8.0
    b: float = 1.0
    images: int = 0
    clock: Literal["sigma", "time"] = "sigma"

    first_defaults: ClassVar[dict[str, Any]] = {
        "times": Uniform(),
        "halvings": 8,
        "k": 0.0,
        "clock": "time",
    }
    training: ClassVar[dict[str, Any]] = {"optimizer": "radam", "lr_schedule": "cosine"}

    @override
    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        t, s = self.times.pair(rng, schedule)
        return t, self.earlier_time(schedule, t, progress) if s is None else s

    def earlier_time(self, schedule: Schedule, t: Tensor, progress: Progress) -> Tensor:
        """Return s (B,), at least 0, which is gap n(t) of t's place on the clock below t."""
        ratio = ratio_of(schedule, t)
        remains = (1 - self.gap(progress) * (1 + self.k * torch.sigmoid(-self.b * ratio))).clamp(min=0)
        if self.clock == "time":
            return t * remains
        s = torch.where(remains > 0, schedule.time_of(ratio * remains), 0)
        return torch.minimum(s.clamp(min=0), t)

    @property
    @override
    def depends_on_length(self) -> bool:
        return self.halvings > 0 and not self.images

    def gap(self, progress: Progress) -> float:
        """Return the gap between t and s as a fraction of t, without the factor n(t)."""
        if self.images:
            stage = progress.images // self.images
        else:
            stage = int(progress.fraction * (self.halvings + 1))
        return self.start * 2.0 ** -min(stage, self.halvings)

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        if self.clock == "time":
            return (t - s) / schedule.t_max
        return ratio_of(schedule, t) - ratio_of(schedule, s)

    @override
    def sampling(self) -> Sampling:
        return FEW_STEPS if isinstance(self.times, KarrasIndex) else super().sampling()
