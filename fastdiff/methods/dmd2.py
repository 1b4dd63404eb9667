"""Distribution matching by a divergence: DMD2, f-distill and Diff-Instruct."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from .adversarial import Adversary, TurnCount
from .base import Nets, per_sample
from .distribution_matching import Matching
from .loss_memory import LossSecondMoments

MAX_LOG_RATIO = 10.0  # largest |ln r|, which a confident discriminator would exceed


@dataclass
class DMD2(Matching):
    """DMD2 (Yin et al. 2024): samples descend the Kullback-Leibler divergence of the noised distributions.

    The loss has the gradient (mu_fake - mu_real) / mean |x - mu_real| by x (DMD, Yin et al. 2024a),
    plus gan.weight times the generator loss. Needs a teacher; no images with gan: {weight: 0}.

    Args:
        gan: settings of the adversarial term; weight 0.003 by default. For others see Matching.
    """

    gan: Adversary = Adversary(weight=3e-3)

    @override
    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Tensor:
        return loss_with_gradient(x, (mu_fake - mu_real) / error_scale(x, mu_real))


# h(r) = f''(r) r^2 of the divergence f, where r is the density of the data divided by that of the samples (Xu
# et al. 2025).
DIVERGENCES: dict[str, Callable[[Tensor], Tensor]] = {
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
    """f-distill (Xu et al. 2025): DMD2 for any f-divergence, with the gradient weighted by h(r).

    The loss is that of DMD2 with the matching gradient multiplied by h(r) = f''(r) r^2 and divided by the
    running root mean square of h at that noise level; ln r is the discriminator's logit. Needs a teacher and
    images.

    Args:
        divergence: the divergence f, a key of DIVERGENCES.
        gan: settings of the adversarial term; its weight must be above 0 and its loss softplus. For others
            see Matching.
    """

    divergence: Literal[
        "reverse_kl", "forward_kl", "jensen_shannon", "softened", "hellinger", "neyman", "jeffreys"
    ] = "jensen_shannon"
    gan: Adversary = Adversary(weight=1e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gan.weight or self.gan.loss != "softplus":
            raise FastdiffError(
                "gan: f_distill takes the density ratio from a discriminator: expected a weight above 0, "
                "and loss softplus",
                key="gan",
            )

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        return super().trainable_networks(student, teacher) | {
            "ratios": LossSecondMoments(bins=20, decay=0.99)
        }

    @override
    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor,
    ) -> Tensor:
        # 1. The weight h(r), with ln r the discriminator's logit.
        log_ratio = logits.detach().mean(1).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        h = DIVERGENCES[self.divergence](log_ratio.exp())
        # 2. Normalized at its level of noise.
        fraction = (t / x.new_tensor(nets["fake"].schedule.t_max, dtype=t.dtype)).to(h.device)
        weight = h / nets["ratios"].root(fraction)
        nets["ratios"].record(h, fraction)
        # 3. The weighted gradient of DMD2.
        return loss_with_gradient(x, like(weight.to(x), x) * (mu_fake - mu_real) / error_scale(x, mu_real))


@dataclass
class DiffInstruct(Matching):
    """Diff-Instruct (Luo et al. 2023): samples descend the KL divergence, integrated over noise levels.

    The loss has the gradient (sigma / alpha)^(power - 2) (mu_fake - mu_real) by the sample x. Needs a
    teacher; images only with a discriminator.

    Args:
        power: power of sigma / alpha in the weight of the integral; 0 for the divergence of the noised
            distributions itself, 2 for the gradient mu_fake - mu_real. For other settings see Matching.
    """

    power: float = 2.0
    spacing: str = "karras[ratio_max=1,ratio_min=0.25]"
    fake_turns: TurnCount = 1

    @override
    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Tensor:
        weight = ratio_of(nets["fake"].schedule, t) ** (self.power - 2)
        return loss_with_gradient(x, like(weight, x) * (mu_fake - mu_real))


def loss_with_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar loss of x (B, ...) whose gradient is `gradient` divided by the number of elements."""
    return per_sample(x * gradient.detach()).mean()


def error_scale(x: Tensor, mu_real: Tensor) -> Tensor:
    """Return the mean of |x - mu_real| of each sample (B, 1, ...), at least 1e-5, without gradients."""
    return like(per_sample((x - mu_real).abs()).detach().clamp(min=1e-5).to(x), x)
