"""What matching learns: the eight unequal modes of the toy, in one step and in several."""

from copy import deepcopy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine
from fastdiff.data.toys import mixture, toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.time_sampling import KarrasIndex, Uniform
from fastdiff.networks import MLP
from fastdiff.networks.oracle import PosteriorMean
from fastdiff.samplers.generate import sample
from fastdiff.training.config import merge_train_config
from fastdiff.training.loop import Training

pytestmark = pytest.mark.long


class Corrected(Network):
    """The exact posterior mean of the toy, and what an MLP adds to it: nothing, until it is trained."""

    null_label = None

    def __init__(self):
        super().__init__()
        self.exact, self.mlp = PosteriorMean(*mixture(), Cosine()), MLP(2, 64, 2)
        nn.init.zeros_(self.mlp.last.bias)

    def forward(self, x, t, s=None, cond=None):
        return self.exact(x, t) + self.mlp(x, 1000 * t - 1)


# Of score identities: above a sigma / alpha of 5 this student runs away, to spreads of a hundred, at these
# learning rates.
IDENTITY = {
    "alpha": 1.0,
    "spacing": "karras[ratio_max=1]",
    "times": KarrasIndex(points=100, sigma_min=0.02, sigma_max=5.0),
}
# Of a thousand updates: levels of noise that a small network learns from, an optimizer without momentum, and
# clipping, as in recipes/methods.
UNIFORM = Uniform(0.02, 0.98)
SETTINGS = {
    "dmd2": {"fake_turns": 2, "discriminator_times": None},
    "f_distill": {"fake_turns": 2, "discriminator_times": None},
    "sid": IDENTITY | {"fake_times": Uniform()},
    "sida": IDENTITY | {"fake_times": Uniform()},
    "diff_instruct": {"times": UNIFORM, "fake_times": Uniform()},
}
SMALL = {"optimizer": "adam", "betas": (0.0, 0.999), "weight_decay": 0.0, "max_grad_norm": 1.0}


def learned(name, folder, updates, rate, ema=0.995, **options):
    """The average of a student that begins as its teacher, which is exact."""
    if weight := METHODS[name]().gan.weight:
        options["gan"] = Adversary(weight=weight, features=("mlp.blocks.1",))
    method = METHODS[name](**SETTINGS[name], **options)
    torch.manual_seed(0)
    teacher = Denoiser(Corrected(), Cosine(), "x0", (2,), "time", sampling=method.sampling()).eval()
    settings = SMALL | {
        "steps": updates,
        "batch": 256,
        "lr": rate,
        "lr_schedule": "cosine",
        "ema": ema,
        "log_every": updates,
        "save_every": updates,
    }
    if weight:
        settings["roles"] = {"discriminator": {"lr": rate}}
    config = merge_train_config(method.training, settings, path="train")
    training = Training(
        method, Progress, deepcopy(teacher), teacher, toy(n=20_000), config, folder, Accelerator(cpu=True)
    )
    for _ in training:
        pass
    return training.result().eval()


def figures(name, model, steps=1):
    """Of 20,000 samples: modes' weights over the true ones, by the nearest; the share above 5 deviations off;
    the energy.

    The last is the distance of 4,000 of them to the data.
    """
    means, stds, weights = mixture()
    x = sample(model, steps=steps, n=20_000, seed=1)
    far, mode = torch.cdist(x, means).min(1)
    ratios = torch.bincount(mode, minlength=8) / len(x) / weights
    off = float((far > 5 * stds[0]).float().mean())
    energy = discrepancy(x[:4000], toy(n=4000, seed=9).examples, distance).value
    print(name, steps, [round(float(v), 2) for v in ratios], f"off {off:.3f} energy {energy:.4f}")
    return ratios, off, energy


# At 5e-3, 1,000 updates of diff_instruct leave 0.67 of the samples off the modes for two seeds of four;
# at 2e-3 for none of four.
RATES = {"dmd2": 5e-3, "f_distill": 5e-3, "sid": 3e-3, "sida": 3e-3, "diff_instruct": 2e-3}


@pytest.mark.parametrize("name", SETTINGS)
def test_one_step_finds_every_mode(name, tmp_path):
    """So few updates leave a quarter of the samples between two modes, which the rarest, one of 36, is given
    as its own.

    Measured: 1.4 to 2.3 times its truth, the others within 0.22, energies of 0.008 to 0.010.
    """
    updates = 800 if name in ("dmd2", "f_distill") else 1000
    ratios, off, energy = figures(name, learned(name, tmp_path, updates, RATES[name]))
    assert 0.4 < ratios[0] < 3 and (ratios[1:] - 1).abs().max() < 0.35 and off < 0.35 and energy < 0.015


def test_one_step_has_the_weights(tmp_path):
    """All but the rarest, one of 36, within a quarter of the truth.

    Measured in three trainings: the rarest off by 0.12, 0.23 and 0.43, the others by at most 0.22, energies
    of 0.007 to 0.008. Divergences of scores hardly see how much weight modes apart have.
    """
    ratios, off, energy = figures("dmd2", learned("dmd2", tmp_path, 4000, RATES["dmd2"], 0.999))
    assert abs(ratios[0] - 1) < 0.6 and (ratios[1:] - 1).abs().max() < 0.25 and off < 0.35 and energy < 0.01
