"""Score identity distillation: SiD (Zhou et al. 2024a) and, with an adversary, SiDA (Zhou et al. 2024b)."""

from dataclasses import dataclass
from typing import ClassVar

from ..core.errors import FastdiffError
from .adversarial import Adversary
from .base import Law, per_sample
from .distribution_matching import Matching
from .dmd2 import unit
from .time_sampling import KarrasIndex


@dataclass
class SiD(Matching):
    """Fisher's divergence of the noised distributions by its identities: <real - fake, real - x - alpha (real - fake)>.

    Its gradient leads through both networks, whose weights stay. No images are needed.
    """

    alpha: float = 1.2
    spacing: str = "karras[ratio_max=2.5,ratio_min=0.5]"
    times: Law = KarrasIndex(points=1000, sigma_max=24.0)
    fake_turns: int = 1

    through: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -10 <= self.alpha <= 10:
            raise FastdiffError(
                f"alpha = {self.alpha}: expected about 1, 0.5 to 1.2 in the paper", key="alpha"
            )

    def matching(self, nets, x, real, fake, t, logits):
        apart = real - fake
        return per_sample(apart * (real - x - self.alpha * apart) / unit(x, real)).mean()


@dataclass
class SiDA(SiD):
    """The same with a critic on the fake's features."""

    alpha: float = 1.0
    gan: Adversary = Adversary(weight=0.01)
