"""Guidance, clipping and the count of evaluations."""

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import SCHEDULES, VP, Flow
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.guidance import CENTRES, ask, guided, noise


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
@pytest.mark.parametrize(("guidance", "plus"), [(1.0, False), (2.0, False), (0.6, True)])
def test_every_sampler_lands_on_the_guided_point(sampler, guidance, plus):
    """Paths to one point are straight in flow matching, so that Euler is exact too."""
    denoise = guided(guidance, schedule=Flow(), plus=plus)
    *_, last = SAMPLERS[sampler](denoise, noise(), time_grid(denoise.schedule, 4))
    torch.testing.assert_close(last.x, CENTRES[2] + guidance * (CENTRES[[0, 1, 1]] - CENTRES[2]))
    assert 3 * denoise.nfe == denoise.model.net.seen and denoise.nfe % (1 if guidance == 1.0 else 2) == 0


def test_no_condition_is_the_null_class():
    denoise = Guided(guided().model)
    assert torch.equal(ask(denoise)[2].x0, CENTRES[[2, 2, 2]]) and denoise.nfe == 1


def test_guidance_without_a_condition_is_refused():
    with pytest.raises(FastdiffError, match=r"guidance = 2.0 needs both"):
        Guided(guided().model, guidance=2.0)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"interval": (4.0, 1.0)}, r"interval = \(4.0, 1.0\): expected"),
        ({"rescale": 1.5}, "rescale = 1.5: expected at most 1"),
        ({"rescale": 0.5, "rescale_of": "eps"}, "rescale_of = 'eps': expected output or x0"),
        ({"guidance": 3.0, "plus": True}, "guidance = 3.0: plus .CFG.* a weight from 0 to 1"),
        ({"clip": 0.0}, "clip = 0.0: expected above 0"),
        ({"threshold": 1.0}, "threshold = 1.0: expected less than 1"),
        ({"clip": 1.0, "threshold": 0.9}, "set only one of them"),
        ({"every": 0}, "every = 0: expected at least 1"),
        ({"against": guided().model}, "a weaker model or a null condition, not both"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, line):
    with pytest.raises(FastdiffError, match=line):
        guided(**settings)


def test_a_weaker_model_is_on_the_same_schedule():
    with pytest.raises(FastdiffError, match=r"expected a weaker model on the schedule VP\(.*beta_max=20"):
        Guided(guided(schedule=VP()).model, guidance=2.0, against=guided(schedule=VP(beta_max=10.0)).model)
    with pytest.raises(FastdiffError, match="CFG"):
        Guided(guided().model, guidance=0.5, against=guided().model, plus=True)
