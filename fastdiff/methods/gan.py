"""A plain generative adversarial network (Goodfellow et al. 2014): no teacher, no diffusion, one step."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..networks.discriminator import Discriminator
from .adversarial import Adversary, pulled
from .base import Method, after, bare, twice
from .diagnostics import coverage, spread


@dataclass
class GAN(Method):
    """Generator and critic from scratch: the generator is a network that is asked at t_max alone, for clean data.

    critic_turns: of the critic, a turn of the student. gan: with loss minimax the original; its penalty r1 is
    on the gradient by the data themselves. The critic has a trunk of its own, as wide as its head.
    """

    critic_turns: int = 1
    gan: Adversary = Adversary(weight=1.0, r1=0.1)

    training: ClassVar[dict] = {"betas": (0.0, 0.99)}

    def __post_init__(self) -> None:
        if self.critic_turns < 1:
            raise FastdiffError(
                f"critic_turns = {self.critic_turns}: expected at least 1", key="critic_turns"
            )
        if not self.gan.weight or self.gan.features:
            raise FastdiffError(
                "gan: its critic is all that this method learns from, and looks at samples alone: expected "
                "a weight above 0, and no features of a network",
                key="gan",
            )

    @property
    def cycle(self) -> int:
        return self.critic_turns

    def extras(self, student, teacher):
        return {"critic": Discriminator(student.shape, student.classes or 0, self.gan.hidden)}

    def turns(self, progress):
        return after(("critic",), self.critic_turns, progress)

    def loss(self, turn, nets, batch, progress):
        schedule = bare(nets["student"]).schedule
        t = torch.tensor(schedule.t_max, dtype=torch.float64)
        noise = float(schedule.alpha_sigma(t)[1]) * batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        with torch.set_grad_enabled("student" in turn):
            x = nets["student"](noise, t, torch.zeros_like(t), batch.cond).x0
        if "critic" in turn:
            return self.gan.telling(partial(nets["critic"], cond=twice(batch.cond)), [batch.x0], [x])
        leaf = x.detach().requires_grad_()
        loss, logs = pulled(
            x, leaf, {"gan": self.gan.weight * self.gan.fooling(nets["critic"]([leaf], batch.cond))}
        )
        return loss, logs | {"coverage": coverage(batch.x0, leaf), "spread": spread(leaf)}

    def sampling(self):
        return Sampling("ddim", "uniform", (1,), only=True)
