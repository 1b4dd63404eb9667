"""Score identity distillation: SiD (Zhou et al. 2024a) and, with an adversary, SiDA (Zhou et al. 2024b)."""

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
    """Score identity distillation: samples descend the Fisher divergence of the noised distributions.

    By its identities that is <mu_real - mu_fake, mu_real - x - alpha (mu_real - mu_fake)>, with a gradient
    through both networks, whose weights are not updated (Zhou et al. 2024a). No images are needed.

    Args:
        alpha: of the second term, 0.5 to 1.2 in the paper.
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
    """SiD with a discriminator on the fake's features (Zhou et al. 2024b)."""

    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.0
    gan: Adversary = Adversary(weight=0.01)
