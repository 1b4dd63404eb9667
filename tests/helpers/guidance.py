"""Models to guide: classes and bells in closed form, and what is asked of them."""

import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine

CENTRES = torch.tensor(
    [[2.0, 0.0], [-1.0, 3.0], [0.25, 0.75]], dtype=torch.float64
)  # class 0, class 1, no class


class Classes(Network):
    """The exact model of a class whose data is one point, and counts of samples seen."""

    null_label = 2

    def __init__(self, extra=False):
        super().__init__()
        self.seen, self.extra = 0, extra

    def forward(self, x, t, s=None, cond=None):
        self.seen += len(x)
        label = cond["label"] if cond else torch.full((len(x),), 2)
        x0 = CENTRES.to(x)[label]
        return torch.cat([x0, label[:, None].to(x).expand_as(x)], 1) if self.extra else x0


class Bells(nn.Module):
    """The exact model of classes whose data are Gaussians of different widths."""

    stds = torch.tensor([0.3, 0.6, 1.5], dtype=torch.float64)

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t, s=None, cond=None):
        alpha, sigma = (c[:, None] for c in self.schedule.alpha_sigma(t))
        mean, variance = CENTRES[cond["label"]], self.stds[cond["label"], None] ** 2
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


def guided(guidance=1.0, clip=None, schedule=None, extra=False, labels=(0, 1, 1), net=None, **settings):
    schedule = schedule or Cosine()
    model = Denoiser(net(schedule) if net else Classes(extra), schedule, "x0", (2,), time_input="time")
    cond, null = ({"label": torch.tensor(v)} for v in (labels, [2] * len(labels)))
    return Guided(model, cond, null, guidance, clip, **settings)


def noise(n=3, seed=0):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ask(denoise, t=0.5):
    x, t = noise(), torch.tensor(t, dtype=torch.float64) * denoise.schedule.t_max
    return x, t, denoise(x, t, t / 2)


def consistent(p, schedule, t):
    alpha, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(like(alpha, p.x) * p.x0 + like(sigma, p.x) * p.eps, p.x)
