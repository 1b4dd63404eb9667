"""Inpainting: what is known stays, what is drawn follows the conditional law."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow, Karras
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.inpaint import Inpaint, repaint
from tests.helpers.inpainting import MASK, drawing, pair, picture, walk
from tests.helpers.tensors import f64

schedules = pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
samplers = pytest.mark.parametrize("sampler", list(SAMPLERS))


@samplers
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_what_is_known_stays_and_the_rest_is_drawn(sampler, steps):
    """Euler's last step ends on x0 where paths are straight in t, as here;
    on a curved schedule only nearly."""
    image = picture()
    for schedule in (Flow(), Karras()):
        times = time_grid(schedule, steps, "karras")
        x = drawing(1)(image) * schedule.alpha_sigma(times[0])[1]
        plain = walk(sampler, Guided(pair(schedule)), x, times)
        denoise = Inpaint(guided := Guided(pair(schedule)), image, MASK)
        state = walk(sampler, denoise, x, times)
        torch.testing.assert_close(state.x[:, 0], image[:, 0], rtol=0, atol=1e-12)
        assert torch.equal(state.x0[:, 0], image[:, 0])
        assert state.x.isfinite().all() and (state.x[:, 0] - plain.x[:, 0]).abs().max() > 0.1
        assert denoise.nfe == guided.nfe >= steps


def test_the_known_region_is_the_image_itself_at_the_end():
    image, times = picture().float(), time_grid(Cosine(), 5)
    for sampler in ("ddpm", "ddim", "dpmpp_2m", "consistency"):
        state = walk(sampler, Inpaint(Guided(pair(Cosine())), image, MASK), drawing(1)(image), times)
        assert torch.equal(state.x[:, 0], image[:, 0]) and state.x.dtype == torch.float32


@schedules
def test_its_prediction_is_consistent(schedule):
    image, x = picture(), drawing()(picture())
    for fraction in (0.2, 1.0):
        t = f64(fraction * schedule.t_max)
        p, (alpha, sigma) = Inpaint(Guided(pair(schedule)), image, MASK)(x, t, t), schedule.alpha_sigma(t)
        torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, x)
        torch.testing.assert_close(p.x0[:, 0], image[:, 0])
        assert torch.equal(p.x, x) and torch.equal(p.x0[:, 1], pair(schedule)(x, t).x0[:, 1])


def test_along_ddim_the_known_region_keeps_its_noise():
    image, times = picture(), time_grid(Cosine(), 6)
    x = drawing()(image)
    for state in SAMPLERS["ddim"](Inpaint(Guided(pair(Cosine())), image, MASK), x, times):
        torch.testing.assert_close(state.x[:, 0], Cosine().mix(image, x, state.t)[:, 0])


def test_an_independent_region_is_drawn_as_if_nothing_were_known():
    model = GaussianMixture(f64([[0.3, -0.2]]), f64([0.7]), f64([1.0]), Cosine())
    x, times = drawing()(picture()), time_grid(Cosine(), 10)
    plain, painted = (
        walk("dpmpp_2m", d, x, times).x for d in (Guided(model), Inpaint(Guided(model), picture(), MASK))
    )
    torch.testing.assert_close(painted[:, 1], plain[:, 1])


class Classes(nn.Module):
    """The exact model of classes of one point each."""

    def forward(self, x, t, s=None, cond=None):
        return f64([[2.0, 0.0], [-1.0, 3.0]])[cond["label"]]


def test_inpainting_under_guidance_that_moves_its_point():
    cond, null = ({"label": torch.full((8,), label)} for label in (0, 1))
    model = Denoiser(Classes(), Cosine(), "x0", (2,), time_input="time")
    image, x, t = picture(), drawing()(picture()), f64(0.5)
    p = (denoise := Inpaint(Guided(model, cond, null, 0.6, plus=True), image, MASK))(x, t, t)
    alpha, sigma = Cosine().alpha_sigma(t)
    torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, p.x)
    assert torch.equal(p.x[:, 0], x[:, 0]) and (p.x[:, 1] - x[:, 1]).abs().min() > 0.1 and denoise.nfe == 2
    torch.testing.assert_close(
        walk("ddim", denoise, x, time_grid(Cosine(), 4)).x[:, 1], f64([0.4 * 3.0]).expand(8)
    )


def test_masks_broadcast_and_images_need_no_batch():
    schedule = Flow()
    model = GaussianMixture(torch.zeros(1, 3, 2, 2, dtype=torch.float64), f64([1.0]), f64([1.0]), schedule)
    image, mask = (
        drawing()(torch.empty(3, 2, 2, dtype=torch.float64)),
        torch.tensor([[True, False], [False, True]]),
    )
    x = drawing(1)(torch.empty(5, 3, 2, 2, dtype=torch.float64))
    state = walk("ddim", Inpaint(Guided(model), image, mask), x, times := time_grid(schedule, 3))
    *_, again = repaint(Guided(model), x, times, image=image, mask=mask, resamplings=2, randn=drawing())
    for found in (state.x, again.x):
        assert torch.equal(found[..., mask], image[..., mask].expand(5, 3, 2))
        assert (found - image)[..., ~mask].abs().min() > 1e-6


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (f64([0.5, 0.0]), "mask: expected 1 where the image is known"),
        (f64([1.0, 0.0, 1.0]), r"mask \(3,\) does not broadcast to the image \(8, 2\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, line):
    with pytest.raises(FastdiffError, match=line):
        Inpaint(Guided(pair(Cosine())), picture(), mask)


# ---- RePaint


@samplers
def test_repaint_walks_with_every_sampler(sampler):
    image, times = picture(), time_grid(Cosine(), 3)
    denoise = Guided(pair(Cosine()))
    x = before = drawing(1)(image) * Cosine().alpha_sigma(times[0])[1]
    before = before.clone()
    options = {
        "image": image,
        "mask": MASK,
        "sampler": sampler,
        "resamplings": 2,
        "jump": 2,
        "randn": drawing(),
    }
    states = list(repaint(denoise, x, times, **options))
    indices = [1, 2, 1, 2, 3, 3]
    assert [float(state.t) for state in states] == [float(times[i]) for i in indices]
    assert torch.equal(states[-1].x[:, 0], image[:, 0]) and torch.equal(x, before)
    assert all(state.x.isfinite().all() for state in states)


@pytest.mark.parametrize("schedule", [Cosine(), Karras()], ids=repr)
def test_the_known_region_has_the_noise_of_each_level(schedule):
    n = 4000
    image = torch.full((n, 2), 0.2, dtype=torch.float64)
    times = time_grid(schedule, 3, "karras")
    x = drawing(1)(image) * schedule.alpha_sigma(times[0])[1]
    for state in repaint(
        Guided(pair(schedule)), x, times, image=image, mask=MASK, resamplings=2, randn=drawing()
    ):
        alpha, sigma = schedule.alpha_sigma(state.t)
        known = state.x[:, 0]
        assert abs(known.mean() - alpha * 0.2) <= 4 * sigma / n**0.5 + 1e-9
        assert abs(known.std() - sigma) <= 0.05 * sigma + 1e-9


@pytest.mark.parametrize("schedule", [Cosine(), Flow()], ids=repr)
def test_resampling_finds_the_conditional_law(schedule):
    """p(up | known) is a softmax; without resampling the share of the upper bell is nearly the prior's
    half."""
    n, known = 2000, 0.2
    image = torch.full((n, 2), known, dtype=torch.float64)
    up = float(torch.sigmoid(f64(((known + 0.5) ** 2 - (known - 0.5) ** 2) / 2 / 0.5**2)))  # 0.69
    spread = (0.5**2 + 4 * up * (1 - up)) ** 0.5
    found = {}
    for resamplings in (1, 8, 50):
        *_, state = repaint(
            Guided(pair(schedule)),
            drawing(1)(image),
            time_grid(schedule, 20),
            image=image,
            mask=MASK,
            sampler="ddpm",
            resamplings=resamplings,
            randn=drawing(),
        )
        found[resamplings] = (state.x[:, 1] > 0).double().mean()
        assert torch.equal(state.x[:, 0], image[:, 0])
    assert found[1] < found[8] - 0.03 and abs(found[50] - up) < 0.05, (found, up)
    assert abs(state.x[:, 1].mean() - (2 * up - 1)) < 0.1 and abs(state.x[:, 1].std() - spread) < 0.15


def test_repaint_refuses_what_it_cannot_walk():
    run = {"image": picture(), "mask": MASK}
    for options, line in (
        ({"sampler": "dim"}, "'dim' is unknown"),
        ({"resamplings": 0}, "resamplings = 0, jump = 1"),
    ):
        with pytest.raises(FastdiffError, match=line):
            next(repaint(Guided(pair(Cosine())), picture(), time_grid(Cosine(), 3), **run, **options))


def test_updates_of_inpainting_need_no_noise():
    """An update of x0 and eps is one of x and x0, as without inpainting."""
    model = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), f64([1.0]), f64([1.0]), Cosine())
    p = Inpaint(Guided(model), picture(), MASK)(drawing()(picture()), f64(0.5), f64(0.5))
    assert p.levels == Guided(model)(picture(), f64(0.5), f64(0.5)).levels
    torch.testing.assert_close(p.combine(x0=0.3, eps=0.7), 0.3 * p.x0 + 0.7 * p.eps)


def test_the_noise_that_ddim_keeps_is_that_of_the_drawn_region():
    image = picture()
    denoise = Inpaint(Guided(pair(Cosine()), clip=0.1, keep_eps=True), image, MASK)
    t = f64(0.5)
    x = drawing(1)(image)
    p, plain = denoise(x, t, t), Guided(pair(Cosine()))(x, t, t)
    kept = p.combine(x0=0.0, eps=1.0)
    assert torch.equal(kept[:, 0], p.eps[:, 0])
    torch.testing.assert_close(kept[:, 1], plain.eps[:, 1])
    assert (p.eps[:, 1] - plain.eps[:, 1]).abs().max() > 0.1
