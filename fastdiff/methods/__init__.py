"""The registry of methods, METHODS: name -> dataclass with a loss. Imports core, networks, samplers and data.

The interface of a method, and shared parts:
    base: the interface, Method, the keys of conditions, and small parts of losses.
    teacher_steps: guided predictions of a teacher, and steps of Heun's method.
    time_sampling, loss_memory: time distributions, and running moments of figures by the time.
    distances: distances between two batches of samples.
    loss_weights: weights of losses by noise level.
    label_dropout: the dropout of conditions, for guidance.
    jvp: derivatives of networks, exact and by finite differences.
    diagnostics: the figures that losses log.
    adversarial, discriminator_features: the adversarial term of a loss, and the networks whose features the
        discriminator takes.

Teachers:
    denoising, variational_bound: the training of teachers, and the bound that trains a learned variance.

Consistency:
    consistency: the common loss.
    ect, cd: easy consistency tuning, and consistency distillation.
    consistency_curricula: consistency training on grids that grow, CT and iCT.
    tcm: truncated consistency models.
    scm: continuous-time consistency models, sCT and sCD.
    grid_consistency, lcm: consistency along a guided teacher's DDIM steps; LCM, TCD and PCM.

Flow maps, jumps between any two times:
    ctm: consistency trajectory models.
    meanflow: MeanFlow and improved MeanFlow.
    shortcut: shortcut models.
    imm: inductive moment matching.

Step-wise distillation:
    progressive: progressive distillation, deterministic and stochastic.
    guidance_distillation: classifier-free guidance in one evaluation.
    kd, reflow: training on a teacher's stored pairs of noise and sample.

Distribution matching:
    distribution_matching: the common loss with a fake score network.
    dmd2: DMD2, f-distill and Diff-Instruct.
    sid: score identity distillation.
    add: adversarial diffusion distillation, ADD and LADD.
    gan: a plain GAN.

Example, the loss of one batch (a training calls it step by step; see training.loop):

    method = fastdiff.METHODS["ect"](halvings=6)
    loss, logs = method.loss(("student",), {"student": student}, batch, Progress(0, 1000, 0))
    loss.backward()
"""

from ..core.registry import Registry
from .add import ADD, LADD
from .base import Method, Progress
from .cd import CD
from .consistency_curricula import CT, ICT
from .ctm import CTM
from .denoising import Denoising
from .dmd2 import DMD2, DiffInstruct, FDistill
from .ect import ECT
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

METHODS: Registry[type[Method]] = Registry(
    {
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
)

__all__ = ["METHODS", "Method", "Progress"]
