"""Guidance, clipping and the count of evaluations."""

import pytest
import torch
from torch import nn

from fastdiff.denoiser import Denoiser
from fastdiff.errors import FastdiffError
from fastdiff.guidance import Guided
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.schedule import SCHEDULES, Cosine, Flow, like

CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 3.0], [0.25, 0.75]], dtype=torch.float64)      # class 0, class 1, no class


class Classes(nn.Module):
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


def guided(guidance=1.0, clip=None, schedule=None, extra=False, labels=(0, 1, 1)):
    model = Denoiser(Classes(extra), schedule or Cosine(), "x0", (2,), time_input="time")
    cond, null = ({"label": torch.tensor(v)} for v in (labels, [2] * len(labels)))
    return Guided(model, cond, null, guidance, clip)


def ask(denoise, t=0.5):
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(t, dtype=torch.float64) * denoise.schedule.t_max
    return x, t, denoise(x, t, t / 2)


@pytest.mark.parametrize(("guidance", "cost"), [(1.0, 1), (0.0, 2), (0.5, 2), (4.0, 2)])
def test_guidance_is_the_line_through_the_two_predictions(guidance, cost):
    denoise = guided(guidance)
    x, t, p = ask(denoise)
    null, given = CENTRES[2], CENTRES[[0, 1, 1]]
    torch.testing.assert_close(p.x0, null + guidance * (given - null))
    alpha, sigma = denoise.schedule.alpha_sigma(t)
    torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, x)
    assert denoise.nfe == cost and denoise.model.net.seen == 3 * cost
    ask(denoise)
    assert denoise.nfe == 2 * cost


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_clipping_bounds_x0_and_keeps_x(schedule, guidance):
    denoise = guided(guidance, 1.0, schedule)
    for fraction in (0.1, 0.5, 1.0):
        x, t, p = ask(denoise, fraction)
        alpha, sigma = schedule.alpha_sigma(t)
        assert p.x0.abs().max() == 1
        torch.testing.assert_close(like(alpha, x) * p.x0 + like(sigma, x) * p.eps, x)
    assert denoise.nfe == 3 * (1 if guidance == 1.0 else 2)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_extra_channels_are_those_of_the_condition(guidance, clip):
    _, _, p = ask(guided(guidance, clip, extra=True))
    assert p.x0.shape == (3, 2) and p.extra[:, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_every_sampler_lands_on_the_guided_point(sampler, guidance):
    """Paths to one point are straight in flow matching, so that Euler is exact too."""
    denoise, steps = guided(guidance, schedule=Flow()), 4
    x = torch.randn(3, 2, dtype=torch.float64)
    *_, last = SAMPLERS[sampler](denoise, x, time_grid(denoise.schedule, steps))
    torch.testing.assert_close(last.x, CENTRES[2] + guidance * (CENTRES[[0, 1, 1]] - CENTRES[2]))
    assert denoise.nfe == (2 * steps - 1 if sampler == "heun" else steps) * (1 if guidance == 1.0 else 2)


def test_no_condition_is_the_null_class():
    denoise = Guided(guided().model)
    assert torch.equal(ask(denoise)[2].x0, CENTRES[[2, 2, 2]]) and denoise.nfe == 1


def test_guidance_without_a_condition_is_refused():
    with pytest.raises(FastdiffError, match=r"guidance = 2.0 needs both"):
        Guided(guided().model, guidance=2.0)
