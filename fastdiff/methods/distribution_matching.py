"""Distribution matching: the student's samples, noised to any level, follow the distribution of noised data.

The teacher models the score of the noised data; a second network, the fake (fake score network), learns the
score of the student's noised samples.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.extra_inputs import with_second_time
from ..core.sampling import Sampling
from ..data.batch import Batch
from ..samplers import time_grid
from .adversarial import Adversary, TurnCount, surrogate_loss
from .base import (
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
    repeat_cond,
    trainable_copy,
    unwrap,
)
from .diagnostics import coverage, spread


@dataclass
class Matching(Method):
    """Base class of distribution matching: subclasses define the loss from two score networks.

    The student's loss is matching_loss(x, mu_real, mu_fake) + gan.weight times the generator loss, where
    mu_real and mu_fake are the clean data that teacher and fake predict from the noised sample x_t. The
    fake's loss is denoising score matching on the student's samples + discriminator_weight times the
    discriminator's loss.

    With several steps the student is trained on one jump of its own trajectory at a time, and the fake takes
    the time of that jump as a second time. Needs a teacher; images only with a discriminator.

    Args:
        steps: numbers of sampling steps that the student is trained for, each at least 1.
        spacing: spacing of the sampling grids, a key of SPACINGS.
        times: distribution of the noise levels at which teacher and fake are compared, a key of
            TIME_DISTRIBUTIONS.
        fake_times: distribution of the noise levels for the training of fake and discriminator.
        fake_turns: turns of the fake per turn of the student, at least 1.
        guidance: guidance weight of the teacher; 1 for no guidance.
        gan: settings of the adversarial term, see Adversary; its discriminator takes the fake's features.
        discriminator_weight: weight of the discriminator's loss, at least 0.
    """

    steps: tuple[int, ...] = (1,)
    spacing: str = "uniform"
    times: TimeDistribution = Uniform(0.02, 0.98)
    fake_times: TimeDistribution = Uniform(0.001, 1.0)
    fake_turns: TurnCount = 5
    guidance: float = 1.0
    gan: Adversary = Adversary()
    discriminator_weight: Annotated[float, Field(ge=0)] = 0.01

    training: ClassVar[dict] = {"betas": (0.0, 0.999)}
    needs_teacher: ClassVar[bool] = True
    backprop_through_scores: ClassVar[bool] = False  # whether the loss has gradients through teacher and fake

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers_of_steps(self.steps)

    @property
    @override
    def needs_images(self) -> bool:
        return self.gan.weight > 0

    @property
    @override
    def cycle(self) -> int:
        return self.fake_turns

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        for steps in self.steps:
            time_grid(student.schedule, steps, self.spacing)  # raises here, before the training
        # Samples of different jumps have different distributions: a fake without the time of the jump would
        # match only their mixture.
        fake = with_second_time(trainable_copy(teacher)) if sum(self.steps) > 1 else trainable_copy(teacher)
        return {"fake": fake} | self.gan.trainable_networks(fake)

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        roles = ("fake", "discriminator") if self.gan.weight else ("fake",)
        return alternating_turns(roles, self.fake_turns, progress)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        return self.student_loss(nets, batch) if "student" in turn else self.fake_loss(nets, batch)

    def fake_loss(self, nets: Nets, batch: Batch) -> Loss:
        """Return the loss of the fake, which denoises the student's samples, plus the discriminator's.

        (DMD2, Yin et al. 2024, sections 4.2 and 4.3.)
        """
        fake = unwrap(nets["fake"]).train()
        cond = batch.cond
        # 1. Generate samples x.
        with torch.no_grad():
            x, jump = backward_simulation(nets["student"], self, batch)
        # 2. Noise them: x_t = alpha x + sigma eps. With a discriminator, noise the data too.
        t = self.fake_times.draw(batch.rng, fake.schedule)[0]
        eps = batch.noise()
        x_t = fake.schedule.mix(x, eps, t)
        all_x = x_t
        all_t = t
        all_cond = cond
        if self.gan.weight:  # both in one pass, since a data-parallel wrapper allows one only
            t_real = self.fake_times.draw(batch.rng, fake.schedule)[0]
            real_t, _ = batch.noised(fake.schedule, t_real)
            all_x = torch.cat([x_t, real_t])
            all_t = torch.cat([t, t_real])
            all_cond = repeat_cond(cond)
        # 3. Denoise them.
        with self.gan.capture_features(fake) as features:
            p = nets["fake"](all_x, all_t, self.second_time(all_t, jump), all_cond)
        # 4. The fake's loss: denoising score matching on x, in the network's own parameterization.
        n = len(x)
        denoising = per_sample(fake.target(p.x0[:n] - x, p.eps[:n] - eps, t).square()).mean()
        if not self.gan.weight:
            return denoising, {"dsm": denoising}
        # 5. The discriminator's loss.
        real_features = [feature[n:] for feature in features]
        fake_features = [feature[:n] for feature in features]
        adversarial_loss, logs = self.gan.discriminator_loss(
            nets["discriminator"], real_features, fake_features
        )
        return denoising + self.discriminator_weight * adversarial_loss, {"dsm": denoising, **logs}

    def second_time(self, t: Tensor, jump: Tensor) -> Tensor:
        """Return the fake's second time (B,): the time of the student's jump, or t if it takes one step."""
        return jump.expand_as(t) if sum(self.steps) > 1 else t

    def student_loss(self, nets: Nets, batch: Batch) -> Loss:
        """Return the student's loss: the matching loss, and the adversarial term.

        (DMD2, Yin et al. 2024, sections 3 and 4.3.)
        """
        # 1. Generate samples x.
        x, jump = backward_simulation(nets["student"], self, batch)
        fake = nets["fake"].eval()
        # 2. Noise them: x_t = alpha x + sigma eps.
        t = self.times.draw(batch.rng, fake.schedule)[0]
        eps = batch.noise()
        x_detached = x.detach().requires_grad_()
        x_t = fake.schedule.mix(x_detached, eps, t)
        # 3. Predict the clean data with teacher and fake: mu_real and mu_fake.
        with torch.set_grad_enabled(self.backprop_through_scores):
            mu_real = guided(nets["teacher"], x_t, t, t, batch.cond, self.guidance).x0
        fake_has_gradient = self.backprop_through_scores or self.gan.weight > 0
        with torch.set_grad_enabled(fake_has_gradient), self.gan.capture_features(fake) as features:
            mu_fake = fake(x_t, t, self.second_time(t, jump), batch.cond).x0
        # 4. The losses of x_detached, whose gradients are backpropagated through x.
        logits = nets["discriminator"](features) if self.gan.weight else None
        terms = {"matching": self.matching_loss(nets, x_detached, mu_real, mu_fake, t, logits)}
        if self.gan.weight:
            terms["gan"] = self.gan.weight * self.gan.generator_loss(logits)
        loss, logs = surrogate_loss(x, x_detached, terms)
        return loss, logs | {
            "lag": lag(x_detached, mu_real, mu_fake),
            "coverage": coverage(batch.x0, x_detached),
            "spread": spread(x_detached),
        }

    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Tensor:
        """Return the loss of samples, a scalar.

        Args:
            nets: all networks by role.
            x: the student's samples (B, ...).
            mu_real: clean data (B, ...) that the teacher predicts from noised x.
            mu_fake: clean data (B, ...) that the fake predicts from the same noised x.
            t: times (B,) of the noised x.
            logits: logits (B, heads) of the discriminator at the noised x; None without a discriminator.
        """
        raise NotImplementedError

    @override
    def teacher_nfe(self) -> float:
        evaluations = 1 if self.guidance == 1 else 2
        return evaluations / (self.fake_turns + 1)  # the teacher is evaluated in one of these batches

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", self.spacing, self.steps, only=True)


def backward_simulation(student: nn.Module, method: Matching, batch: Batch) -> tuple[Tensor, Tensor]:
    """Generate samples on the student's own trajectory from noise (DMD2, Yin et al. 2024, section 4.5).

    The number of steps is drawn from the method's, and the last jump from the trajectory, both the same for
    the whole batch on all processes.

    Args:
        student: the network, which may be in a data-parallel wrapper.
        method: source of the step counts and the spacing.
        batch: source of the shape, the condition and the random streams.

    Returns:
        Clean samples (B, ...), with a gradient through the last jump only, and the time () of that jump.
    """
    model = unwrap(student)
    cond = batch.cond
    # 1. Draw a number of steps and a point of its grid.
    steps = method.steps[int(batch.shared.integers(0, len(method.steps)))]
    grid = time_grid(model.schedule, steps, method.spacing)
    last = int(batch.shared.integers(0, steps))
    # 2. Start from noise at the grid's first time.
    noise = batch.noise()
    x = like(model.schedule.alpha_sigma(grid[0])[1], noise) * noise
    zero = torch.zeros_like(grid[0])
    # 3. Step to that point: predict clean data, and noise them to the next time.
    with torch.no_grad():
        for t, s in zip(grid[:last], grid[1:]):
            x = model.schedule.mix(model(x, t, zero, cond).x0, batch.noise(), s)
    # 4. Jump to clean data with a gradient.
    torch.clear_autocast_cache()  # older versions of torch keep the casts made without a gradient
    return student(x, grid[last], zero, cond).x0, grid[last].to(x.device)


def lag(x: Tensor, mu_real: Tensor, mu_fake: Tensor) -> Tensor:
    """Return the figure `lag`, which measures how far the fake is behind the student's samples.

    It is the correlation of the fake's error with its difference from the teacher, 0 on average for a
    converged fake: the error of a posterior mean is orthogonal to any function of the noised sample,
    E <x - mu_fake, mu_real - mu_fake> = 0.

    Args:
        x: the student's samples (B, ...).
        mu_real: clean data (B, ...) that the teacher predicts from noised x.
        mu_fake: clean data (B, ...) that the fake predicts from the same noised x.

    Returns:
        A scalar, -1 to 1.
    """
    error = (x - mu_fake).detach()
    difference = (mu_real - mu_fake).detach()
    return (error * difference).sum() / (error.norm() * difference.norm()).clamp(min=1e-30)
