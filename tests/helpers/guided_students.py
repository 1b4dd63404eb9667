"""Exact students that take their guidance as an input, and batches for them."""

import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import Dataset
from fastdiff.networks.oracle import PosteriorMean
from tests.helpers.networks import small
from tests.helpers.oracles import batch_of, draws_of, mixture


class Classes(Network):
    """The exact model of a mixture whose components are classes,
    and of all of them together where none is named."""

    def __init__(self, schedule, oracle):
        super().__init__()
        net = oracle.net
        self.null_label = len(net.means)
        self.none = net
        self.each = nn.ModuleList(
            PosteriorMean(net.means[k : k + 1], net.stds[k : k + 1], torch.ones(1), schedule)
            for k in range(self.null_label)
        )

    def forward(self, x, t, s=None, cond=None):
        none = self.none(x, t)
        if not cond:
            return none
        given = torch.stack([*(net(x, t) for net in self.each), none])[cond["label"], torch.arange(len(x))]
        return given if "guidance" not in cond else self.told(none, given, cond["guidance"])

    def told(self, none, given, weight):
        return given


class Told(Classes):
    """The same told its guidance: exact but for a share of the guidance by which it errs."""

    def __init__(self, *args, error=0.0):
        super().__init__(*args)
        self.error = nn.Parameter(torch.tensor(error, dtype=torch.float64))

    def told(self, none, given, weight):
        return none + (1 + self.error) * like(weight, none) * (given - none)


def model_of(kind, schedule, **options):
    net = kind(schedule, mixture(schedule), **options)
    guidance = (1.0, 4.0) if kind is Told else None
    return Denoiser(net, schedule, "x0", (2,), time_input="time", guidance=guidance)


def guided_batch(oracle, n=512, seed=0, low=1.0, high=4.0):
    labels = torch.arange(n) % 3
    weights = torch.linspace(low, high, n).double()
    return batch_of(draws_of(oracle, n, seed), seed, {"label": labels, "guidance": weights})


def given(kind, times="one time"):
    teacher = small(kind, 3)
    teacher = with_second_time(teacher) if times.endswith("before") else teacher
    student = with_guidance(teacher, (1.0, 4.0))
    return teacher, with_second_time(student) if times.endswith("after") else student


def drawn(model):
    """Every input counts: as after some training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("guidance.2.weight", "gap.2.weight", "conv_in.weight")):
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.requires_grad_(False)


def with_weight(cond, *weights):
    return cond | {"guidance": torch.tensor(weights)}


def labelled(n: int = 4000) -> Dataset:
    """The toy mixture with the classes of `Classes`."""
    oracle = mixture(Cosine())
    rng = torch.Generator().manual_seed(0)
    kind = torch.multinomial(oracle.net.log_weights.exp(), n, replacement=True, generator=rng)
    x = oracle.net.means[kind] + oracle.net.stds[kind, None] * torch.randn(n, 2, generator=rng).double()
    return Dataset("toy", x.float(), kind, 3)
