"""Latent, trajectory and phased consistency distillation of a guided teacher: LCM, TCD and PCM."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from ..samplers import time_grid
from .adversarial import Adversary, surrogate_loss
from .base import Decay, Loss, Nets, Progress, Turn
from .grid_consistency import LCM_PARAMETERIZATIONS, GridConsistency


@dataclass
class LCM(GridConsistency):
    """LCM (Luo et al. 2023): latent consistency distillation, with jumps that end at clean data (u = 0).

    The loss is weight(SNR) distance(f(x_t, t), f-(x_s, s)) for a guided teacher's step from x_t to x_s. If
    the teacher predicts eps or v, the student has LCM's parameterization, the identity at the first timestep
    (lcm_eps, lcm_v). Settings and needs are those of GridConsistency: points, weights, mu, distance, weight.

    The defaults are those of the authors' scripts, mu = 0.95; the paper has a slower average, 0.99994.
    """

    @override
    def student(self, model: Denoiser) -> Denoiser:
        if model.predicts == "x0":
            raise FastdiffError(
                "lcm needs a model that predicts eps, v, velocity or edm: for x0, f(x, 0) = x does not hold"
            )
        student = super().student(model)
        return lcm_function(student) if student.predicts in LCM_PARAMETERIZATIONS else student

    @override
    def end(self, schedule: Schedule, t: Tensor, s: Tensor, rng: SampleRng) -> Tensor:
        return torch.zeros_like(s)

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", self.spacing, (1, 2, 4, 8))


@dataclass
class TCD(GridConsistency):
    """TCD (Zheng et al. 2024): trajectory consistency distillation, with jumps to a random u in [0, s].

    The loss is weight(SNR) distance(G(x_t, t, u), G-(x_s, s, u)) with u = (1 - gamma) s for uniform gamma, so
    that one student works with every gamma of the sampler `gamma`. G is a DDIM step with the network's
    prediction at t (the paper's semi-linear function of first order). Other settings and needs are those of
    GridConsistency: points, weights, mu, distance, weight.

    Args:
        second_time: whether the network takes u as an input, in the paper it does not. Without it, one
            prediction must do for every end u, and the best such prediction at the highest noise is far from
            the end of the teacher's path: such a student is poor at one step however long it is trained.
    """

    second_time: bool = False

    @override
    def student(self, model: Denoiser) -> Denoiser:
        student = super().student(model)
        return with_second_time(student) if self.second_time else student

    @override
    def end(self, schedule: Schedule, t: Tensor, s: Tensor, rng: SampleRng) -> Tensor:
        return rng.uniform() * s

    @override
    def sampling(self) -> Sampling:
        return Sampling("gamma", self.spacing, (1, 2, 4, 8))


@dataclass
class PCM(GridConsistency):
    """PCM (Wang et al. 2024): phased consistency distillation, with jumps to the end u of the phase of t.

    The loss is weight(SNR) distance(G(x_t, t, u), G-(x_s, s, u)), plus gan.weight times the generator loss.
    Other settings and needs are those of GridConsistency: points, distance, weight.

    The discriminator's noise levels are between u and t; in the authors' code, anywhere in the phase.

    Args:
        phases: number of phases, 1 to `points`, which is also the only number of sampling steps.
        weights: range of guidance weights, see GridConsistency. The default, 5.5 only, is the authors' 4.5,
            which they add to 1.
        mu: decay in [0, 1) of the running average of the student that is the target; 0 for the student
            itself, as in the authors' code.
        gan: settings of the adversarial term, see Adversary; the paper's weight is 0.1. Its discriminator
            takes the teacher's features of the student's jump and of its target, noised within the phase.
    """

    phases: int = 4
    weights: tuple[float, float] = (5.5, 5.5)
    mu: Decay = 0.0
    gan: Adversary = Adversary()

    first_defaults: ClassVar[dict[str, Any]] = {"weights": (4.5, 4.5), "mu": 0.95}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.phases <= self.points:
            raise FastdiffError(f"phases = {self.phases}: expected 1 to points = {self.points}", key="phases")

    @override
    def end(self, schedule: Schedule, t: Tensor, s: Tensor, rng: SampleRng) -> Tensor:
        edges = time_grid(schedule, self.phases, self.spacing).flip(0).to(t)
        half = self.time(schedule, 0.5)  # an edge belongs to the phase below it
        return edges[torch.searchsorted(edges, t - half) - 1]

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        return super().trainable_networks(student, teacher) | self.gan.trainable_networks(teacher)

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return self.gan.turns

    @override
    def jump_loss(
        self,
        turn: Turn,
        nets: Nets,
        batch: Batch,
        student_jump: Tensor,
        target: Tensor,
        t: Tensor,
        u: Tensor,
    ) -> Loss:
        if not self.gan.weight:
            return super().jump_loss(turn, nets, batch, student_jump, target, t, u)

        # 1. Sample the noise level of both ends for the discriminator, between u and t.
        level = u + batch.rng.uniform() * (t - u)

        # 2. In the discriminator's turn: its loss on the target and the student's jump.
        if "discriminator" in turn:
            with torch.no_grad():
                real, fake = self.features(nets, batch, u, level, target, student_jump)
            return self.gan.discriminator_loss(nets["discriminator"], real, fake)

        # 3. In the student's turn: the distance and the adversarial term.
        x_detached = student_jump.detach().requires_grad_()
        (features,) = self.features(nets, batch, u, level, x_detached)
        logits = nets["discriminator"](features)
        terms = {
            "agreement": self.disagreement(nets["teacher"].schedule, x_detached, target, t),
            "gan": self.gan.weight * self.gan.generator_loss(logits),
        }
        loss, logs = surrogate_loss(student_jump, x_detached, terms)
        return loss, logs | self.error_logs(nets, x_detached, target, t)

    def features(
        self, nets: Nets, batch: Batch, u: Tensor, level: Tensor, *parts: Tensor
    ) -> list[list[Tensor]]:
        """Noise batches x_u (B, ...) further, to times `level` (B,); return the teacher's features."""
        teacher = nets["teacher"]
        raised = [
            noise_further(teacher.schedule, x, u, level, batch.rng.normal(x.shape[1:]).to(x)) for x in parts
        ]
        return self.gan.extract_features(teacher, raised, [level] * len(parts), batch.cond)

    @override
    def teacher_nfe(self) -> float:
        # With a discriminator: two further evaluations in its turn, one in the student's.
        return super().teacher_nfe() + 1.5 * (self.gan.weight > 0)

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", self.spacing, (self.phases,), only=True)


def noise_further(schedule: Schedule, x: Tensor, t: Tensor, u: Tensor, eps: Tensor) -> Tensor:
    """Return x_u (B, ...) from x = x_t and new noise eps (B, ...), for times u >= t, each (B,)."""
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    alpha_u, sigma_u = schedule.alpha_sigma(u)
    shrink = alpha_u / alpha_t
    added = (sigma_u.square() - (shrink * sigma_t).square()).clamp(min=0).sqrt()
    return like(shrink, x) * x + like(added, x) * eps


def lcm_function(model: Denoiser) -> Denoiser:
    """Return a model of eps or v in LCM's parameterization, which shares its weights."""
    sigma_data = model.sigma_data if model.scale_input else 0.5  # scaled inputs depend on sigma_data
    return model.reparameterized(LCM_PARAMETERIZATIONS[model.predicts], sigma_data)
