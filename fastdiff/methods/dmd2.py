"""Matching by a divergence: DMD2 (Yin et al. 2024), f-distill (Xu et al. 2025), Diff-Instruct (Luo et al. 2023)."""

from dataclasses import dataclass
from typing import Literal

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from .adversarial import Adversary
from .base import per_sample
from .distribution_matching import Matching
from .time_sampling import LossMemory

MOST = 10.0  # of |ln r|: where a critic is sure


@dataclass
class DMD2(Matching):
    """Samples move against fake - teacher, the gradient of the Kullback-Leibler divergence of their noised distributions.

    It is divided by the mean of |x - teacher|, sample by sample (Yin et al. 2024a). With gan: {weight: 0} no
    images are needed.
    """

    gan: Adversary = Adversary(weight=3e-3)

    def matching(self, nets, x, real, fake, t, logits):
        return follow(x, (fake - real) / unit(x, real))


# h(r) = f''(r) r^2 of the divergence f, r the density of the data by that of the samples (Xu et al. 2025).
DIVERGENCES = {
    "reverse_kl": torch.ones_like,
    "forward_kl": lambda r: r,
    "jensen_shannon": lambda r: r / (1 + r),
    "softened": lambda r: 1 / (1 + r),
    "hellinger": torch.sqrt,
    "neyman": lambda r: 1 / r,
    "jeffreys": lambda r: 1 + r,
}


@dataclass
class FDistill(DMD2):
    """DMD2 with the gradient weighted by h(r), where the critic's logit says ln r: any f-divergence.

    h is divided by its root mean square at that level of noise, as remembered.
    """

    divergence: Literal[
        "reverse_kl", "forward_kl", "jensen_shannon", "softened", "hellinger", "neyman", "jeffreys"
    ] = "jensen_shannon"
    gan: Adversary = Adversary(weight=1e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gan.weight or self.gan.loss != "softplus":
            raise FastdiffError(
                "gan: f_distill reads the ratio of densities from a critic: expected a weight above 0 and "
                "loss softplus",
                key="gan",
            )

    def extras(self, student, teacher):
        return super().extras(student, teacher) | {"ratios": LossMemory(bins=20, decay=0.99)}

    def matching(self, nets, x, real, fake, t, logits):
        share = t / x.new_tensor(nets["fake"].schedule.t_max, dtype=t.dtype)
        h = DIVERGENCES[self.divergence](logits.detach().mean(1).clamp(-MOST, MOST).exp())
        nets["ratios"].record(h, share.to(h.device))
        weight = h / nets["ratios"].root(share.to(h.device))
        return follow(x, like(weight.to(x), x) * (fake - real) / unit(x, real))


@dataclass
class DiffInstruct(Matching):
    """The integral of the Kullback-Leibler divergence over levels of noise (Luo et al. 2023), weighted.

    power: of sigma / alpha in the weight; 0 is the divergence itself, at 2 the gradient is fake - teacher.
    """

    power: float = 2.0
    spacing: str = "karras[ratio_max=1,ratio_min=0.25]"
    fake_turns: int = 1

    def matching(self, nets, x, real, fake, t, logits):
        weight = ratio_of(nets["fake"].schedule, t) ** (self.power - 2)
        return follow(x, like(weight, x) * (fake - real))


def follow(x, slope):
    """A loss of x (B, ...) whose gradient is the slope, by the number of elements."""
    return per_sample(x * slope.detach()).mean()


def unit(x, real):
    """The mean of |x - real| of each sample."""
    return like(per_sample((x - real).abs()).detach().clamp(min=1e-5).to(x), x)
