"""A plain generative adversarial network (Goodfellow et al. 2014): no teacher, no diffusion, one step."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from typing_extensions import override

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..data.batch import Batch
from ..networks.discriminator import Discriminator
from .adversarial import Adversary, TurnCount, surrogate_loss
from .base import Loss, Method, Nets, Progress, Turn, alternating_turns, repeat_cond, unwrap
from .diagnostics import coverage, spread


@dataclass
class GAN(Method):
    """A plain GAN (Goodfellow et al. 2014): a generator and a discriminator trained from scratch.

    The generator's loss is gan.weight times the adversarial loss of its sample x, the clean data that it
    predicts from noise at t_max. Needs images and no teacher.

    Args:
        discriminator_turns: turns of the discriminator per turn of the student, at least 1.
        gan: settings of the adversarial term, see Adversary; with loss minimax it is the original game. The
            penalty r1 is on the gradient by the data themselves. `hidden` is the width of the whole
            discriminator, and `features` must name no module.
    """

    discriminator_turns: TurnCount = 1
    gan: Adversary = Adversary(weight=1.0, r1=0.1, features=())

    training: ClassVar[dict] = {"betas": (0.0, 0.99)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gan.weight or self.gan.names_modules:
            raise FastdiffError(
                "gan: expected a weight above 0 and no features, as this method learns only from a "
                "discriminator on the samples themselves",
                key="gan",
            )

    @property
    @override
    def cycle(self) -> int:
        return self.discriminator_turns

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        return {"discriminator": Discriminator(student.shape, student.classes or 0, self.gan.hidden)}

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return alternating_turns(("discriminator",), self.discriminator_turns, progress)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        cond = batch.cond
        # 1. Generate samples x from noise z at t_max.
        t = torch.tensor(schedule.t_max, dtype=torch.float64)
        z = float(schedule.alpha_sigma(t)[1]) * batch.noise()
        with torch.set_grad_enabled("student" in turn):
            x = nets["student"](z, t, torch.zeros_like(t), cond).x0
        # 2. The discriminator's turn: distinguish data and samples.
        if "discriminator" in turn:
            return self.gan.discriminator_loss(
                partial(nets["discriminator"], cond=repeat_cond(cond)), [batch.x0], [x]
            )
        # 3. The generator's turn.
        x_detached = x.detach().requires_grad_()
        term = self.gan.weight * self.gan.generator_loss(nets["discriminator"]([x_detached], cond))
        loss, logs = surrogate_loss(x, x_detached, {"gan": term})
        return loss, logs | {"coverage": coverage(batch.x0, x_detached), "spread": spread(x_detached)}

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1,), only=True)
