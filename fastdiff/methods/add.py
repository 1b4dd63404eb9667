"""Adversarial diffusion distillation: ADD on clean samples, LADD on noised samples."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from ..samplers import time_grid
from .adversarial import Adversary, Features, TurnCount, surrogate_loss
from .base import (
    LogitNormal,
    Loss,
    Method,
    Nets,
    Progress,
    TimeDistribution,
    Turn,
    Uniform,
    alternating_turns,
    guided,
    numbers_of_steps,
    per_sample,
    unwrap,
)
from .diagnostics import coverage, spread
from .discriminator_features import FeatureNetwork, Teachers


class Generated(NamedTuple):
    """A batch of the student's samples, each from one of the times that it is trained at."""

    x: Tensor  # clean samples (B, ...)
    kind: Tensor  # number of the time (B,), in rising order
    from_noise: Tensor  # whether the sample was generated from pure noise (B,)


@dataclass
class LADD(Method):
    """LADD (Sauer et al. 2024): a discriminator on a teacher's features of noised samples and data.

    The student denoises the data from the times of its sampling grids only. Its loss is gan.weight times the
    generator loss of a discriminator D(features of x_t), where x_t is its sample x noised to a random level;
    the discriminator learns to distinguish x_t from noised data. Samples from different times are judged
    separately: all of them together could follow the data's distribution while those from one time do not.

    The distribution of the noise levels, equal shares of the student's times and all weights are choices made
    here.

    Needs a teacher and images.

    Args:
        steps: numbers of sampling steps that the student is trained for, each at least 1.
        spacing: spacing of the sampling grids, a key of SPACINGS.
        times: distribution of the noise levels for the discriminator, a key of TIME_DISTRIBUTIONS.
        discriminator_turns: turns of the discriminator per turn of the student.
        gan: settings of the adversarial term, see Adversary; its weight must be above 0.
    """

    steps: tuple[int, ...] = (1, 2, 4)
    spacing: str = "uniform"
    times: TimeDistribution = LogitNormal()
    discriminator_turns: TurnCount = 1
    gan: Adversary = Adversary(weight=1.0, loss="hinge")

    first_defaults: ClassVar[dict[str, Any]] = {"gan": Adversary(weight=1.0, loss="hinge", features=())}
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers_of_steps(self.steps)
        if not self.gan.weight:
            raise FastdiffError(
                "gan.weight = 0: expected above 0, as this method learns from its discriminator", key="gan"
            )

    @property
    @override
    def training(self) -> dict[str, Any]:
        return {"betas": (0.0, 0.99)} | self.gan.training

    @property
    @override
    def cycle(self) -> int:
        return self.discriminator_turns

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        times = torch.cat(self.time_grids(student.schedule)).unique()
        return {"discriminator": self.new_discriminator(student, teacher, len(times))}

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return alternating_turns(("discriminator",), self.discriminator_turns, progress)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        # 1. Generate samples x.
        with torch.set_grad_enabled("student" in turn):
            x, kind, from_noise = self.generate(nets["student"], batch)
        # 2. The discriminator's turn: distinguish features of data and samples.
        if "discriminator" in turn:
            with torch.no_grad():
                real, fake = self.extract_features(nets, batch, batch.x0, x)
            return self.gan.discriminator_loss(
                partial(nets["discriminator"], kind=kind.repeat(2)), real, fake
            )
        # 3. The student's turn.
        x_detached = x.detach().requires_grad_()
        loss, logs = surrogate_loss(x, x_detached, self.loss_terms(nets, batch, x_detached, kind))
        return loss, logs | {
            "coverage": coverage(batch.x0[from_noise], x_detached[from_noise]),
            "spread": spread(x_detached[from_noise]),
        }

    def time_grids(self, schedule: Schedule) -> list[Tensor]:
        """Return the times (steps,) at which the student is evaluated, for each number of steps."""
        return [time_grid(schedule, steps, self.spacing)[:-1] for steps in self.steps]

    def generate(self, student: nn.Module, batch: Batch) -> Generated:
        """Denoise the batch with the student, each example from a random time of a random grid.

        At the first time of a grid the input is pure noise.

        Args:
            student: the network, which may be in a data-parallel wrapper.
            batch: examples that are noised.
        """
        schedule = unwrap(student).schedule
        grids = self.time_grids(schedule)
        # 1. Draw a time of each sample.
        times, kinds = torch.cat(grids).unique(return_inverse=True)
        first = torch.cat([torch.arange(len(grid)) == 0 for grid in grids])
        i = batch.rng.integers(0, len(kinds))
        kind = kinds.to(i.device)[i]
        from_noise = first.to(i.device)[i]
        t = times.to(i.device)[kind]
        # 2. Noise the data to it.
        x_t = schedule.mix(batch.x0 * like(~from_noise, batch.x0), batch.noise(), t)
        # 3. Denoise.
        x = student(x_t, t, torch.zeros_like(t), batch.cond).x0
        return Generated(x, kind, from_noise)

    def new_discriminator(self, student: Denoiser, teacher: Denoiser, kinds: int) -> nn.Module:
        """Create an untrained discriminator with separate outputs for `kinds` kinds of samples."""
        return self.gan.new_discriminator(teacher, kinds=kinds)

    def extract_features(self, nets: Nets, batch: Batch, *samples: Tensor) -> list[Features]:
        """Return the discriminator's features of batches of clean samples (B, ...), a list for each batch."""
        teacher = nets["teacher"]
        t = self.times.draw(batch.rng, teacher.schedule)[0]
        return self.gan.extract_noised_features(teacher, t, batch, *samples)

    def loss_terms(self, nets: Nets, batch: Batch, x: Tensor, kind: Tensor) -> dict[str, Tensor]:
        """Return the terms of the student's loss for samples x (B, ...) of kinds (B,), scalars by name."""
        (features,) = self.extract_features(nets, batch, x)
        return {"gan": self.gan.weight * self.gan.generator_loss(nets["discriminator"](features, kind))}

    @override
    def teacher_nfe(self) -> float:
        # Two evaluations in a turn of the discriminator, one in the student's.
        return (2 * self.discriminator_turns + 1) / (self.discriminator_turns + 1)

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", self.spacing, self.steps, only=True)


@dataclass
class ADD(LADD):
    """ADD (Sauer et al. 2023): a discriminator on clean samples, and the teacher's denoising as target.

    The student's loss is gan.weight times the generator loss of a discriminator on features of its sample x,
    plus distill * alpha(t)^2 |x - x0_teacher(x_t)|^2 per number, with x noised to x_t and no gradient through
    the teacher. Other settings are those of LADD.

    Needs a teacher and images.

    Args:
        times: distribution of the noise levels t of the distillation term, a key of TIME_DISTRIBUTIONS.
        gan: settings of the adversarial term; r1 is 1e-3 by default.
        features_of: network whose features the discriminator takes: teacher, vgg16 or classifier.
        distill: weight of the distillation term, at least 0.
        guidance: guidance weight of the teacher; 1 for no guidance.
    """

    times: TimeDistribution = Uniform(0.02, 0.98)
    gan: Adversary = Adversary(weight=1.0, loss="hinge", r1=1e-3)
    features_of: FeatureNetwork = Teachers()
    distill: Annotated[float, Field(ge=0)] = 1.0
    guidance: float = 1.0

    first_defaults: ClassVar[dict[str, Any]] = {
        "gan": Adversary(weight=1.0, loss="hinge", r1=1e-3, features=())
    }

    @override
    def new_discriminator(self, student: Denoiser, teacher: Denoiser, kinds: int) -> nn.Module:
        return self.features_of.new_discriminator(self.gan, student, teacher, kinds)

    @override
    def frozen_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        return self.features_of.frozen_networks(student)

    @override
    def extract_features(self, nets: Nets, batch: Batch, *samples: Tensor) -> list[Features]:
        return self.features_of.extract_features(self.gan, nets, batch, *samples)

    @override
    def loss_terms(self, nets: Nets, batch: Batch, x: Tensor, kind: Tensor) -> dict[str, Tensor]:
        teacher = nets["teacher"]
        # 1. Noise the samples to t, and denoise them with the teacher.
        t = self.times.draw(batch.rng, teacher.schedule)[0]
        with torch.no_grad():
            x_t = teacher.schedule.mix(x, batch.noise(), t)
            target = guided(teacher, x_t, t, t, batch.cond, self.guidance).x0
        # 2. The distance, weighted by c(t) = alpha.
        alpha, _ = teacher.schedule.alpha_sigma(t)
        error = per_sample(like(alpha, x) * (x - target).square())
        # 3. The adversarial term.
        terms = super().loss_terms(nets, batch, x, kind)
        return terms | {"distill": self.distill * error.mean()}

    @override
    def teacher_nfe(self) -> float:
        for_features = super().teacher_nfe() if isinstance(self.features_of, Teachers) else 0
        return for_features + (1 if self.guidance == 1 else 2) / (self.discriminator_turns + 1)
