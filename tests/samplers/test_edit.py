"""Edits: they start from the noised image, and what is known stays."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.network import Network
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow
from fastdiff.samplers.edit import edit
from fastdiff.samplers.generate import sample
from tests.helpers.inpainting import MASK, pair, picture
from tests.helpers.tensors import f64

schedules = pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)


@schedules
def test_an_edit_starts_from_the_noised_image(schedule):
    image, seen = picture().float(), []
    watch = lambda part, state: seen.append(state)  # noqa: E731
    model = Denoiser(Still(), schedule, "x0", (2,), time_input="time")
    x = edit(model, image, steps=5, strength=0.4, watch=watch)
    assert len(seen) == 5 and torch.equal(x, torch.zeros_like(image))
    alpha, sigma = schedule.alpha_sigma(f64(0.4 * schedule.t_max))
    expected = alpha * image + sigma * SampleRng(0, torch.arange(8)).normal((2,))
    torch.testing.assert_close(model.net.first, expected.float())


class Still(Network):
    """Remembers the first x it saw, and predicts nothing but zeros."""

    null_label, first = None, None

    def forward(self, x, t, s=None, cond=None):
        self.first = x if self.first is None else self.first
        return torch.zeros_like(x)


def test_a_stronger_edit_moves_further():
    far = torch.full((64, 2), 1.5)
    moved = [
        float(
            (edit(pair(Cosine()), far, sampler="ddim", steps=20, strength=strength) - far)
            .square()
            .mean()
            .sqrt()
        )
        for strength in (0.02, 0.3, 0.6)
    ]
    assert moved[0] < 0.1 < 0.3 < moved[1] < moved[2], moved


def test_full_strength_with_nothing_known_is_plain_sampling():
    model = pair(Cosine())
    edited = edit(model, picture().float(), sampler="ddim", steps=4, mask=torch.zeros(2))
    torch.testing.assert_close(edited, sample(model, "ddim", steps=4, n=8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.0}, "strength = 0.0: expected a fraction"),
        ({"strength": 1.5}, "strength = 1.5: expected a fraction"),
        ({}, "give a mask, or a strength below 1"),
        ({"strength": 0.5, "resamplings": 3}, "are options of RePaint: give a mask"),
    ],
)
def test_edits_that_make_no_sense(arguments, message):
    with pytest.raises(FastdiffError, match=message):
        edit(pair(Cosine()), picture().float(), steps=4, **arguments)


def test_an_edit_depends_on_its_own_image_alone():
    model, image = pair(Flow()), picture().float()
    for how in (
        {"strength": 0.5},
        {"mask": MASK},
        {"mask": MASK, "resamplings": 3},
        {"mask": MASK, "strength": 0.7},
    ):
        whole = edit(model, image, sampler="ddpm", steps=6, **how)
        torch.testing.assert_close(edit(model, image, sampler="ddpm", steps=6, batch=3, **how), whole)
        if "mask" in how:
            assert torch.equal(whole[:, 0], image[:, 0])
