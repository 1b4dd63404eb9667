"""Distribution matching: the student's samples, noised to any level, follow the distribution of noised data.

The teacher models the score of the noised data; a second network, the fake (fake score network), learns the
score of the student's noised samples.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.extra_inputs import with_second_time
from ..core.sampling import Sampling
from ..data.batch import Batch
from ..networks.discriminator import apart
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
from .diagnostics import coverage, lag, spread


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
        fake_times: distribution of the noise levels for the training of the fake.
        discriminator_times: distribution of the noise levels for the discriminator, in passes of their own;
            None to share the passes of the scores: fake_times in the fake's turn, times in the student's.
        fake_turns: turns of the fake per turn of the student, at least 1.
        guidance: guidance weight of the teacher; 1 for no guidance.
        gan: settings of the adversarial term, see Adversary; its discriminator takes the fake's features.
        discriminator_weight: weight of the discriminator's loss, at least 0; it also trains the fake.

    Attributes:
        optimizer_settings: defaults of TrainConfig for all roles.
    """

    steps: tuple[int, ...] = (1,)
    spacing: str = "uniform"
    times: TimeDistribution = Uniform(0.02, 0.98)
    fake_times: TimeDistribution = Uniform(0.001, 1.0)
    discriminator_times: TimeDistribution | None = None
    fake_turns: TurnCount = 5
    guidance: float = 1.0
    gan: Adversary = Adversary()
    discriminator_weight: Annotated[float, Field(ge=0)] = 0.01

    optimizer_settings: ClassVar[dict[str, Any]] = {"betas": (0.0, 0.999), "max_grad_norm": 0.0}
    needs_teacher: ClassVar[bool] = True
    backprop_through_scores: ClassVar[bool] = False  # whether the loss has gradients through teacher and fake

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers_of_steps(self.steps)

    @property
    @override
    def training(self) -> dict[str, Any]:
        return self.optimizer_settings | self.gan.training

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
        # 1. Generate samples x.
        with torch.no_grad():
            x, jump = backward_simulation(nets["student"], self, batch)
        # 2. Noise them: x_t = alpha x + sigma eps. For a discriminator, noise samples and data.
        t = self.fake_times.draw(batch.rng, fake.schedule)[0]
        eps = batch.noise()
        inputs = [fake.schedule.mix(x, eps, t)]
        times = [t]
        if (
            self.gan.weight and self.discriminator_times is None
        ):  # the same samples, and data with their noise
            inputs += [fake.schedule.mix(batch.x0, eps, t)]
            times += [t]
        elif self.gan.weight:
            t_judged = self.discriminator_times.draw(batch.rng, fake.schedule)[0]
            inputs += [fake.schedule.mix(clean, batch.noise(), t_judged) for clean in (batch.x0, x)]
            times += [t_judged, t_judged]
        # 3. Denoise them, in one pass, since a data-parallel wrapper allows one only.
        all_t = torch.cat(times)
        with self.gan.capture_features(fake) as features:
            p = nets["fake"](
                torch.cat(inputs), all_t, self.second_time(all_t, jump), repeat_cond(batch.cond, len(inputs))
            )
        # 4. The fake's loss: denoising score matching on x, in the network's own parameterization.
        n = len(x)
        denoising = per_sample(fake.target(p.x0[:n] - x, p.eps[:n] - eps, t).square()).mean()
        if not self.gan.weight:
            return denoising, {"dsm": denoising}
        # 5. The discriminator's loss.
        parts = apart(features, len(inputs))
        adversarial_loss, logs = self.gan.discriminator_loss(
            nets["discriminator"], parts[1], parts[0 if self.discriminator_times is None else 2]
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
        judges_x_t = self.gan.weight > 0 and self.discriminator_times is None
        with (
            torch.set_grad_enabled(self.backprop_through_scores or judges_x_t),
            self.gan.capture_features(fake) as features,
        ):
            mu_fake = fake(x_t, t, self.second_time(t, jump), batch.cond).x0
        # 4. The losses of x_detached, whose gradients are backpropagated through x.
        logits = nets["discriminator"](features) if self.gan.weight else None
        matching, matching_logs = self.matching_loss(nets, x_detached, mu_real, mu_fake, t, logits)
        terms = {"matching": matching}
        if self.gan.weight:
            judged = logits if judges_x_t else self.discriminator_logits(nets, x_detached, jump, batch)
            scale = self.gan.weight * self.generator_loss_scale(x_detached, mu_real)
            terms["gan"] = scale * self.gan.generator_loss(judged)
        loss, logs = surrogate_loss(x, x_detached, terms)
        return loss, logs | matching_logs | {
            "lag": lag(x_detached, mu_real, mu_fake),
            "coverage": coverage(batch.x0, x_detached),
            "spread": spread(x_detached),
        }

    def discriminator_logits(self, nets: Nets, x: Tensor, jump: Tensor, batch: Batch) -> Tensor:
        """Return the discriminator's logits (B, heads) of samples noised to levels of discriminator_times.

        Args:
            nets: all networks by role.
            x: the student's samples (B, ...).
            jump: time () of the student's jump.
            batch: source of the condition and the random streams.
        """
        fake = nets["fake"]
        t = self.discriminator_times.draw(batch.rng, fake.schedule)[0]
        x_t = fake.schedule.mix(x, batch.noise(), t)
        with self.gan.capture_features(fake) as features:
            fake(x_t, t, self.second_time(t, jump), batch.cond)
        return nets["discriminator"](features)

    def generator_loss_scale(self, x: Tensor, mu_real: Tensor) -> Tensor | float:
        """Return the factor of the adversarial term next to its weight; arguments as in matching_loss."""
        return 1.0

    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Loss:
        """Return the loss of samples, a scalar, and figures to log.

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
