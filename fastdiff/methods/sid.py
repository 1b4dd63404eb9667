"""Score identity distillation: SiD (Zhou et al. 2024a) and, with a discriminator, SiDA (2024b)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor
from typing_extensions import override

from .adversarial import Adversary, TurnCount
from .base import LogNormal, Loss, Nets, TimeDistribution, Uniform, per_sample
from .distribution_matching import Matching
from .dmd2 import error_scale
from .time_sampling import KarrasIndex


@dataclass
class SiD(Matching):
    """SiD (Zhou et al. 2024a): score identity distillation, which descends the Fisher divergence.

    The loss is <mu_real - mu_fake, mu_real - x - alpha (mu_real - mu_fake)> / mean |x - mu_real|, with
    gradients through both score networks, whose weights are not updated. Needs a teacher and no images.

    The authors multiply the loss by 100 and sum it over the numbers of a sample; here it is their mean.

    Args:
        alpha: weight of the second term, -10 to 10; 0.5 to 1.2 in the paper.
        fake_times: distribution of the noise levels for the training of the fake; EDM's log-normal one by
            default, as in the authors' code. For other settings see Matching.
    """

    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.2
    spacing: str = "karras[ratio_max=2.5,ratio_min=0.5]"
    times: TimeDistribution = KarrasIndex(points=1000, sigma_max=24.0)
    fake_times: TimeDistribution = LogNormal()
    fake_turns: TurnCount = 1

    first_defaults: ClassVar[dict[str, Any]] = {"fake_times": Uniform(0.001, 1.0)}
    backprop_through_scores: ClassVar[bool] = True

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
        difference = mu_real - mu_fake
        product = difference * (mu_real - x - self.alpha * difference)
        return per_sample(product / error_scale(x, mu_real)).mean(), {}


@dataclass
class SiDA(SiD):
    """SiDA (Zhou et al. 2024b): SiD with a discriminator on the features of the fake score network.

    The loss is that of SiD plus gan.weight * mean(1 / |x - mu_real|) times the generator loss, where the mean
    is over the batch and |x - mu_real| the mean absolute error of a sample. Needs a teacher and images.

    That is the authors' loss divided by 50 times the size of a sample: theirs is half of the sum of 100 times
    SiD and 0.01 times the size of a sample times the adversarial term. Other differences from their code:
    they take the mean over channels of the encoder as logits, where this discriminator has heads; clamp the
    generator's logits to 10; weight the discriminator's loss by EDM's weight; clip the fake's gradient by
    value; add the adversarial term after 200,000 images; and update the generator after 100,000.

    Args:
        alpha: weight of the second term of SiD, -10 to 10; 1 by default.
        gan: settings of the adversarial term; weight 1e-4 by default, the authors' 0.01 over SiD's factor of
            100. For other settings see Matching.
    """

    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.0
    gan: Adversary = Adversary(weight=1e-4)

    first_defaults: ClassVar[dict[str, Any]] = SiD.first_defaults | {
        "gan": Adversary(weight=0.01, features=())
    }

    @override
    def generator_loss_scale(self, x: Tensor, mu_real: Tensor) -> Tensor:
        return error_scale(x, mu_real).reciprocal().mean()
