"""Distribution matching by a divergence: DMD2, f-distill and Diff-Instruct."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from .adversarial import Adversary, TurnCount
from .base import LogNormal, Loss, Nets, TimeDistribution, Uniform, per_sample
from .distribution_matching import Matching
from .loss_memory import RunningMoments
from .time_sampling import KarrasIndex

RATIO_RANGE = (0.1, 20.0)  # bounds of the density ratio r, which a confident discriminator would exceed
RATIO_BINS = 10  # bins of the noise level in which the mean of r is 1
RATIO_DECAY = 0.9  # decay of the running means of r and h, per update of the student


@dataclass
class DMD2(Matching):
    """DMD2 (Yin et al. 2024): samples descend the Kullback-Leibler divergence of the noised distributions.

    The loss has the gradient (mu_fake - mu_real) / mean |x - mu_real| by x (DMD, Yin et al. 2024a),
    plus gan.weight times the generator loss. Needs a teacher; no images with gan: {weight: 0}.

    The authors' discriminator has one head of strided convolutions, on the fake's middle block; here a head
    on every block of the encoder (as in their successors' code for CIFAR-10) averages over places, because
    one on the middle block alone has little to distinguish once the student is near the data.

    Args:
        discriminator_times: distribution of the noise levels for the discriminator, in passes of their own;
            the authors' by default, every level of EDM's grid. None to share the passes of the scores.
        gan: settings of the adversarial term; weight 0.003 by default. For others see Matching.
    """

    discriminator_times: TimeDistribution | None = KarrasIndex(points=1000)
    gan: Adversary = Adversary(weight=3e-3)

    optimizer_settings: ClassVar[dict[str, Any]] = {
        "optimizer": "adamw",
        "betas": (0.9, 0.999),
        "weight_decay": 0.01,
        "max_grad_norm": 10.0,
    }
    first_defaults: ClassVar[dict[str, Any]] = {
        "discriminator_times": None,
        "gan": Adversary(weight=3e-3, features=()),
    }

    @override
    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Loss:
        return loss_with_gradient(x, (mu_fake - mu_real) / error_scale(x, mu_real)), {}


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

    The loss is that of DMD2 with the matching gradient multiplied by h(r) = f''(r) r^2, where ln r is the
    discriminator's logit at x_t. As in the authors' code, r is clamped to RATIO_RANGE, then divided by its
    mean at that level of noise, since E_q r = 1 for the true ratio; and h is divided by its mean. Both means
    are running ones of the batches before. Needs a teacher and images.

    Args:
        divergence: the divergence f, a key of DIVERGENCES.
        gan: settings of the adversarial term; its weight must be above 0 and its loss softplus. For others
            see Matching.
    """

    divergence: Literal[
        "reverse_kl", "forward_kl", "jensen_shannon", "softened", "hellinger", "neyman", "jeffreys"
    ] = "jensen_shannon"
    gan: Adversary = Adversary(weight=1e-3)

    first_defaults: ClassVar[dict[str, Any]] = DMD2.first_defaults | {
        "gan": Adversary(weight=1e-3, features=())
    }

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
            "ratios": RunningMoments(bins=RATIO_BINS, decay=RATIO_DECAY),
            "ratio_weights": RunningMoments(bins=1, decay=RATIO_DECAY),
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
    ) -> Loss:
        # 1. The ratio r of the densities, with ln r the discriminator's logit.
        ratio = logits.detach().mean(1).exp().clamp(*RATIO_RANGE)
        # 2. Its mean over samples is 1 at every level of noise.
        fraction = (t / x.new_tensor(nets["fake"].schedule.t_max, dtype=t.dtype)).to(ratio.device)
        nets["ratios"].record(ratio, fraction)
        h = DIVERGENCES[self.divergence](ratio / nets["ratios"].at(fraction))
        # 3. The weight h(r), of mean 1.
        nets["ratio_weights"].record(h, fraction)
        weight = h / nets["ratio_weights"].at(fraction)
        # 4. The weighted gradient of DMD2.
        gradient = like(weight.to(x), x) * (mu_fake - mu_real) / error_scale(x, mu_real)
        return loss_with_gradient(x, gradient), {"ratio_spread": h.std(correction=0) / h.mean()}


@dataclass
class DiffInstruct(Matching):
    """Diff-Instruct (Luo et al. 2023): samples descend the KL divergence, integrated over noise levels.

    The loss has the gradient (sigma / alpha)^(power - 2) (mu_fake - mu_real) by the sample x. Needs a
    teacher; images only with a discriminator.

    As in the authors' code, the noise levels are EDM's log-normal ones for student and fake, and the student
    starts at sigma = alpha, their init_sigma of 1 on CIFAR-10. Their loss is a sum over the numbers of a
    sample, ours a mean.

    Args:
        power: power of sigma / alpha in the weight of the integral; 0 for the divergence of the noised
            distributions itself, 2 for the gradient mu_fake - mu_real. For other settings see Matching.
    """

    power: float = 2.0
    spacing: str = "karras[ratio_max=1,ratio_min=0.25]"
    times: TimeDistribution = LogNormal()
    fake_times: TimeDistribution = LogNormal()
    fake_turns: TurnCount = 1

    first_defaults: ClassVar[dict[str, Any]] = {
        "times": Uniform(0.02, 0.98),
        "fake_times": Uniform(0.001, 1.0),
    }

    @override
    def matching_loss(
        self,
        nets: Nets,
        x: Tensor,
        mu_real: Tensor,
        mu_fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Loss:
        weight = ratio_of(nets["fake"].schedule, t) ** (self.power - 2)
        return loss_with_gradient(x, like(weight, x) * (mu_fake - mu_real)), {}


def loss_with_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar loss of x (B, ...) whose gradient is `gradient` divided by the number of elements."""
    return per_sample(x * gradient.detach()).mean()


def error_scale(x: Tensor, mu_real: Tensor) -> Tensor:
    """Return the mean of |x - mu_real| of each sample (B, 1, ...), at least 1e-5, without gradients."""
    return like(per_sample((x - mu_real).abs()).detach().clamp(min=1e-5).to(x), x)
