"""The registry of methods, METHODS: name -> dataclass with a loss. Imports core, networks, samplers and data.

What a method is, and what several share:
    base: the interface, Method, its conditions and logs, and small pieces of losses.
    time_sampling, loss_memory: laws of the times to train at, and what importance sampling remembers.
    distances: distances between two batches of samples.
    jvp: derivatives of networks, exact and by differences.
    diagnostics: figures to log of a training.
    adversarial, discriminator_features: a discriminator's term in a loss, and the networks whose features it
        takes.

Teachers:
    denoising, variational_bound: the training of teachers, and the bound that trains a learned variance.

Consistency:
    consistency: the common loss, ECT, CD, CT and iCT.
    tcm: truncated consistency models.
    scm: continuous-time consistency models, sCT and sCD.
    grid_consistency, lcm: consistency on a guided teacher's DDIM steps; LCM, TCD and PCM.

Flow maps, jumps between any two times:
    ctm: consistency trajectory models.
    meanflow: MeanFlow and improved MeanFlow.
    shortcut: shortcut models.
    imm: inductive moment matching.

Step-wise distillation:
    progressive: progressive distillation, and its stochastic kind.
    guidance_distillation: a guided teacher in one evaluation.
    kd, reflow: learning from a teacher's stored pairs of noise and sample.

Distribution matching:
    distribution_matching: the common loss of a fake score network.
    dmd2: DMD2, f-distill and Diff-Instruct.
    sid: score identity distillation.
    add: adversarial diffusion distillation, ADD and LADD.
    gan: a plain GAN.
"""

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
