"""What guides, where, and how far."""

from itertools import pairwise

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.network import Network
from fastdiff.core.prediction import PREDICTION_TYPES
from fastdiff.core.schedule import SCHEDULES, VP, Cosine, Flow, Karras
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.guidance import CENTRES, Bells, ask, consistent, guided, noise

MODES = {
    "plain": {},
    "interval": {"interval": (0.5, 2.0)},
    "rescale": {"rescale": 0.7},
    "rescale of x0": {"rescale": 0.7, "rescale_of": "x0"},
    "clip": {"clip": 1.0},
    "threshold": {"threshold": 0.4},
    "every": {"every": 2},
    "rescale in an interval": {"rescale": 0.7, "interval": (0.5, 2.0)},
    "plus": {"guidance": 0.6, "plus": True},
    "plus, clip": {"guidance": 0.6, "plus": True, "clip": 1.0},
    "plus in an interval": {"guidance": 0.6, "plus": True, "interval": (0.5, 2.0)},
}


modes = pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))


@modes
def test_a_sample_does_not_hang_on_its_neighbours_nor_on_the_shape_of_t(mode):
    """A batch with one t; each sample alone; and a batch with a t for each, some outside the interval."""
    mode, x = {"guidance": 3.0} | mode, noise()
    times = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    batch = guided(net=Bells, **mode)(x, times, times / 2)
    consistent(batch, Cosine(), times)
    for i, (t, label) in enumerate(zip(times, (0, 1, 1), strict=True)):
        alone = guided(net=Bells, labels=[label], **mode)(x[i : i + 1], t, t / 2)
        together = guided(net=Bells, **mode)(x, t, t / 2)
        for one in ("x", "x0", "eps"):
            torch.testing.assert_close(getattr(alone, one)[0], getattr(together, one)[i])
            torch.testing.assert_close(getattr(alone, one)[0], getattr(batch, one)[i])
        consistent(alone, Cosine(), t)


@modes
@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
def test_every_mode_keeps_x_and_the_dtype(mode, schedule):
    denoise = guided(schedule=schedule, net=Bells, **{"guidance": 3.0} | mode)
    for fraction in (0.1, 0.5, 1.0):
        _, t, p = ask(denoise, fraction)
        consistent(p, schedule, t)
    p = guided(schedule=schedule, **{"guidance": 3.0} | mode)(noise().float(), t, t / 2)
    assert p.x.dtype == p.x0.dtype == p.eps.dtype == torch.float32 and p.eps.isfinite().all()


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_guidance_against_a_weaker_model(guidance):
    """The line from the weaker mixture's prediction through the model's;
    the weaker sees the same condition."""
    means, weights = CENTRES[:2], torch.ones(2, dtype=torch.float64)
    good, weak = (
        GaussianMixture(means, torch.full((2,), std, dtype=torch.float64), weights, VP())
        for std in (0.3, 0.8)
    )
    denoise = Guided(good, guidance=guidance, against=weak)
    x, t, p = ask(denoise)
    torch.testing.assert_close(p.x0, weak(x, t).x0 + guidance * (good(x, t).x0 - weak(x, t).x0))
    consistent(p, VP(), t)
    assert denoise.nfe == (1 if guidance == 1.0 else 2)

    strong, feeble = guided().model, guided().model
    both = Guided(strong, {"label": torch.tensor([0, 1, 1])}, guidance=guidance, against=feeble)
    torch.testing.assert_close(ask(both)[2].x0, CENTRES[[0, 1, 1]])
    assert (strong.net.seen, feeble.net.seen) == (3, 0 if guidance == 1.0 else 3)


@pytest.mark.parametrize(
    ("ratio", "inside"), [(0.5, False), (1.0, False), (1.0001, True), (4.0, True), (4.0001, False)]
)
def test_an_interval_is_open_below_and_closed_above(ratio, inside):
    denoise = guided(3.0, schedule=Karras(), interval=(1.0, 4.0))
    t = torch.tensor(ratio, dtype=torch.float64)
    p = denoise(noise(), t, t)
    given = CENTRES[[0, 1, 1]]
    torch.testing.assert_close(p.x0, CENTRES[2] + 3 * (given - CENTRES[2]) if inside else given)
    assert denoise.nfe == (2 if inside else 1)


def test_an_interval_with_a_time_for_each_sample():
    denoise = guided(3.0, schedule=Karras(), interval=(1.0, 4.0))
    times = torch.tensor([1.0, 4.0, 4.5], dtype=torch.float64)
    p = denoise(noise(), times, times)
    torch.testing.assert_close(
        p.x0, torch.stack([CENTRES[0], CENTRES[2] + 3 * (CENTRES[1] - CENTRES[2]), CENTRES[1]])
    )
    assert denoise.nfe == 2


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_rescaling_of_x0_returns_to_the_unguided_spread(share):
    given, wild, tame = (
        ask(guided(w, net=Bells, rescale=phi, rescale_of="x0"))[2].x0
        for w, phi in ((1.0, 0.0), (4.0, 0.0), (4.0, share))
    )
    torch.testing.assert_close(tame.std(1), share * given.std(1) + (1 - share) * wild.std(1))
    torch.testing.assert_close(tame / tame.norm(dim=1, keepdim=True), wild / wild.norm(dim=1, keepdim=True))
    assert (wild.std(1) / given.std(1) - 1).abs().min() > 0.1


def rescaled_output(guided_output, output, share):
    """Lin et al. 2023, algorithm 2, as diffusers' rescale_noise_cfg writes it."""
    spread, wild = (v.std(tuple(range(1, v.ndim)), keepdim=True) for v in (output, guided_output))
    return share * (guided_output * (spread / wild)) + (1 - share) * guided_output


@pytest.mark.parametrize("predicts", PREDICTION_TYPES)
@pytest.mark.parametrize("schedule", [VP(), Cosine(), Karras()], ids=repr)
def test_rescaling_is_of_the_networks_output(predicts, schedule):
    """Whatever the network predicts; one number or a time for each sample."""

    class Drawn(Network):
        null_label = 2

        def forward(self, x, t, s=None, cond=None):
            generator = torch.Generator().manual_seed(1)
            outputs = torch.randn(3, *x.shape[1:], dtype=torch.float64, generator=generator)
            return outputs[cond["label"]]

    model = Denoiser(Drawn(), schedule, predicts, (2, 4), time_input="time", sigma_data=0.5)
    x = torch.randn(2, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cond, null = ({"label": torch.tensor(v)} for v in ([0, 1], [2, 2]))
    times = torch.tensor([0.6, 0.98], dtype=torch.float64) * schedule.t_max
    for t in (times[0], times[1], times):
        given, empty = (model.raw(x, t, t, c) for c in (cond, null))
        wanted = rescaled_output(empty + 7.5 * (given - empty), given, 0.7)
        found = Guided(model, cond, null, guidance=7.5, rescale=0.7)(x, t, t)
        at = model.solve_coefficients(t)
        torch.testing.assert_close(found.x0, model.to_prediction(x, wanted, at).x0, rtol=1e-12, atol=1e-12)
        consistent(found, schedule, t)
        other = Guided(model, cond, null, guidance=7.5, rescale=0.7, rescale_of="x0")(x, t, t).x0
        assert (predicts == "x0") == torch.allclose(other, found.x0)


def test_rescaling_is_that_of_diffusers():
    guider_utils = pytest.importorskip("diffusers.guiders.guider_utils")
    guided_output, output = 3 * noise(4, 0), noise(4, 1)
    wanted = guider_utils.rescale_noise_cfg(guided_output, output, 0.7)
    torch.testing.assert_close(rescaled_output(guided_output, output, 0.7), wanted, rtol=1e-12, atol=1e-12)


def test_rescaling_leaves_what_has_no_spread():
    flat = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([[0.4]], [0.3], [1.0])), VP())
    wide = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([[0.4]], [0.9], [1.0])), VP())
    t, x = torch.tensor(0.5, dtype=torch.float64), noise()[:, :1]
    first, second = (Guided(flat, guidance=2.0, against=wide, rescale=phi)(x, t, t).x0 for phi in (0.0, 1.0))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("guidance", [0.0, 0.4, 1.0])
def test_ddim_with_plus_is_the_loop_of_cfg_plus_plus(guidance):
    """Chung et al. 2024, algorithm 2, in eps: the clean sample of the mixed noise,
    renoised by the unconditional."""
    schedule = VP()
    denoise, plain = (
        guided(w, schedule=schedule, net=Bells, plus=plus) for w, plus in ((guidance, True), (1.0, False))
    )
    times, x = time_grid(schedule, 7), noise()
    states = list(SAMPLERS["ddim"](denoise, x, times))
    for (t, s), state in zip(pairwise(times), states, strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        given, null = (plain.model(x, t, s, cond).eps for cond in (denoise.cond, denoise.null))
        clean = (x - sigma_t * (null + guidance * (given - null))) / alpha_t
        x = alpha_s * clean + sigma_s * null
        torch.testing.assert_close(state.x, x)
        torch.testing.assert_close(state.x0, clean)
    assert denoise.nfe == 14
    usual = list(SAMPLERS["ddim"](guided(guidance, schedule=schedule, net=Bells), noise(), times))
    assert (usual[-1].x - x).abs().max() > 0.1 or guidance == 0


def test_dynamic_thresholding():
    """Where the quantile of |x0| is above 1 it becomes 1, and what is beyond it is cut."""
    x0 = ask(guided(3.0, net=Bells))[2].x0
    p = ask(guided(3.0, net=Bells, threshold=0.3))[2]
    low, high = x0.abs().sort(1).values.unbind(1)
    bound = (low + 0.3 * (high - low)).clamp(min=1)[:, None]
    torch.testing.assert_close(p.x0, x0.clamp(-bound, bound) / bound)
    assert p.x0.abs().max() <= 1 < x0.abs().max() and bound.max() > 1
    small = ask(guided(net=Bells, labels=[2, 2, 2], threshold=0.99, schedule=Flow()), t=1.0)[2]
    torch.testing.assert_close(small.x0, CENTRES[[2, 2, 2]])


def test_the_weaker_branch_is_asked_at_every_kth_call():
    denoise, fresh = guided(3.0, net=Bells, every=3), guided(3.0, net=Bells)
    null, counts = guided(net=Bells, labels=[2, 2, 2]), []
    for call, fraction in enumerate((0.9, 0.8, 0.7, 0.6, 0.5)):
        x, t, p = ask(denoise, fraction)
        given = denoise.model(x, t, t, denoise.cond).x0
        if call % 3 == 0:
            lead = given - ask(null, fraction)[2].x0
            torch.testing.assert_close(p.x0, ask(fresh, fraction)[2].x0)
        torch.testing.assert_close(p.x0, given + 2 * lead)
        consistent(p, Cosine(), t)
        counts.append(denoise.nfe)
    assert counts == [2, 3, 4, 6, 7]


def test_a_constant_difference_may_be_reused():
    often, seldom = guided(3.0), guided(3.0, every=4)
    times = time_grid(Cosine(), 8)
    for a, b in zip(*(SAMPLERS["dpmpp_2m"](d, noise(), times) for d in (often, seldom)), strict=True):
        torch.testing.assert_close(a.x, b.x)
    assert (often.nfe, seldom.nfe) == (16, 10)


def test_reuse_counts_only_calls_that_guide():
    denoise = guided(3.0, schedule=Karras(), interval=(1.0, 4.0), every=2)
    costs = []
    for t in torch.tensor([8.0, 4.0, 3.0, 2.0, 0.5], dtype=torch.float64):
        before = denoise.nfe
        denoise(noise(), t, t)
        costs.append(denoise.nfe - before)
    assert costs == [1, 2, 1, 2, 1]
