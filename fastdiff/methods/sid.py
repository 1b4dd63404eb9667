"""Score identity distillation: SiD (Zhou et al. 2024a) and, with a discriminator, SiDA (2024b)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from typing_extensions import override

from .adversarial import Adversary, TurnCount
from .base import Nets, TimeDistribution, per_sample
from .distribution_matching import Matching
from .dmd2 import error_scale
from .time_sampling import KarrasIndex


@dataclass
class SiD(Matching):
    """SiD (Zhou et al. 2024a): score identity distillation, which descends the Fisher divergence.

    The loss is <mu_real - mu_fake, mu_real - x - alpha (mu_real - mu_fake)> / mean |x - mu_real|, with
    gradients through both score networks, whose weights are not updated. Needs a teacher and no images.

    Args:
        alpha: weight of the second term, -10 to 10; 0.5 to 1.2 in the paper. For other settings see Matching.
    """

    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.2
    spacing: str = "karras[ratio_max=2.5,ratio_min=0.5]"
    times: TimeDistribution = KarrasIndex(points=1000, sigma_max=24.0)
    fake_turns: TurnCount = 1

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
    ) -> Tensor:
        difference = mu_real - mu_fake
        product = difference * (mu_real - x - self.alpha * difference)
        return per_sample(product / error_scale(x, mu_real)).mean()


@dataclass
class SiDA(SiD):
    """SiDA (Zhou et al. 2024b): SiD with a discriminator on the features of the fake score network.

    The loss is that of SiD plus gan.weight times the generator loss. Needs a teacher and images.

    Args:
        alpha: weight of the second term of SiD, -10 to 10; 1 by default.
        gan: settings of the adversarial term; weight 0.01 by default. For other settings see Matching.
    """

    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.0
    gan: Adversary = Adversary(weight=0.01)
