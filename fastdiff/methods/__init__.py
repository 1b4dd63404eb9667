"""Methods: name -> dataclass with a loss."""

from .add import ADD, LADD
from .base import Method, Progress
from .consistency import CD, CT, ECT, ICT
from .ctm import CTM
from .denoising import Denoising
from .dmd2 import DMD2, DiffInstruct, FDistill
from .gan import GAN
from .guidance_distillation import GuidedDistillation
from .imm import IMM
from .kd import KD
from .lcm import LCM, PCM, TCD
from .meanflow import IMF, MeanFlow
from .progressive import Progressive, Stochastic
from .reflow import Reflow
from .scm import SCD, SCT
from .shortcut import Shortcut
from .sid import SiD, SiDA
from .tcm import TCM

METHODS: dict[str, type[Method]] = {
    "denoising": Denoising,
    "progressive": Progressive,
    "stochastic": Stochastic,
    "guided": GuidedDistillation,
    "ect": ECT,
    "consistency": ECT,
    "cd": CD,
    "ct": CT,
    "ict": ICT,
    "tcm": TCM,
    "sct": SCT,
    "scm": SCT,
    "scd": SCD,
    "ctm": CTM,
    "meanflow": MeanFlow,
    "imf": IMF,
    "shortcut": Shortcut,
    "imm": IMM,
    "kd": KD,
    "reflow": Reflow,
    "lcm": LCM,
    "tcd": TCD,
    "pcm": PCM,
    "dmd2": DMD2,
    "f_distill": FDistill,
    "sid": SiD,
    "sida": SiDA,
    "diff_instruct": DiffInstruct,
    "add": ADD,
    "ladd": LADD,
    "gan": GAN,
}

__all__ = ["METHODS", "Method", "Progress"]
