"""Sample i is a function of (model, sampler, grid, seed, i)."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import SCHEDULES, Cosine, Karras, Sigmoid, Trig
from fastdiff.networks import mlp, unet
from fastdiff.networks.inference import tune
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, State, time_grid
from fastdiff.samplers.generate import generate, sample
from fastdiff.samplers.plan import SamplingPlan


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = unet((1, 8, 8), 3, channels=(8, 8), layers=1, groups=4).eval().requires_grad_(False)
    return Denoiser(net, Cosine(), "v", (1, 8, 8))


def made(model, indices, batch, sampler="ddpm", steps=3, **options):
    way = SamplingPlan(sampler, time_grid(model.schedule, steps))
    parts = list(generate(model, way, indices, batch=batch, **options))
    assert torch.equal(torch.cat([part.indices for part in parts]), indices)
    assert [len(part.x) for part in parts] == [len(chunk) for chunk in indices.split(batch)]
    return torch.cat([part.x for part in parts])


# ---- the same in any company


@pytest.mark.parametrize(
    ("indices", "batch"),
    [
        (torch.arange(64), 7),
        (torch.arange(12), 1),
        (torch.arange(64).flip(0), 13),
        (torch.tensor([5, 63, 0]), 64),
        (torch.arange(64)[1::2], 5),
        (torch.arange(64)[::2], 32),
    ],
)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_images_depend_on_their_index_alone(model, sampler, indices, batch):
    whole = made(model, torch.arange(64), 64, sampler)
    torch.testing.assert_close(made(model, indices, batch, sampler), whole[indices], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_leaves_samples_to_themselves(oracle, sampler):
    whole = made(oracle, torch.arange(12), 12, sampler, 4)
    for indices, batch in ((torch.arange(12), 5), (torch.tensor([11, 2]), 1)):
        torch.testing.assert_close(
            made(oracle, indices, batch, sampler, 4), whole[indices], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_ends_on_data_with_a_network_in_bf16(sampler, schedule):
    torch.manual_seed(0)
    net = mlp((2,), width=16, depth=1).requires_grad_(False)
    nn.init.normal_(net.last.weight, std=0.1)
    model = tune(Denoiser(net, schedule, "v", (2,), time_input="time"), "bf16")
    options = {"rtol": 0.1, "atol": 0.1} if sampler.startswith("ode") else {}
    states = []
    spacing = "karras" if schedule == Sigmoid() else "uniform"
    sample(model, sampler, 4, n=3, spacing=spacing, watch=lambda part, state: states.append(state), **options)
    assert states[-1].t == 0 and states[-1].x.dtype == torch.float32 and states[-1].x.isfinite().all()
    torch.testing.assert_close(states[-1].x, states[-1].x0)


def test_noise_is_the_same_to_the_bit(model, monkeypatch):
    def noise(denoise, x, times, *, randn):
        """A sampler that hands out what it was given and what it drew."""
        for s in times[1:]:
            yield State(s, x := torch.cat([x, randn(x)[:, :1]], 1), x)

    monkeypatch.setitem(SAMPLERS, "noise", noise)
    whole = made(model, torch.arange(64), 64, "noise")
    assert whole.shape == (64, 4, 8, 8) and whole.flatten().unique().numel() > 0.999 * whole.numel()
    for batch in (1, 7, 63):
        assert torch.equal(made(model, torch.arange(64), batch, "noise"), whole)
    subset = torch.tensor([40, 3, 3, 17])
    assert torch.equal(made(model, subset, 2, "noise"), whole[subset])
    assert not torch.isclose(made(model, torch.arange(64), 64, "noise", seed=1), whole).any(1).any()


def test_the_global_seed_changes_nothing_and_the_seed_everything(oracle):
    torch.manual_seed(1)
    first = made(oracle, torch.arange(8), 8)
    torch.manual_seed(2)
    assert torch.equal(made(oracle, torch.arange(8), 8), first)
    assert not torch.equal(made(oracle, torch.arange(8), 8, seed=1), first)


def test_labels_follow_their_samples(labelled):
    indices, labels = torch.arange(10), torch.arange(10) % 3
    for guidance in (1.0, 2.5):
        whole = made(labelled, indices, 10, "heun", cond={"label": labels}, guidance=guidance)
        torch.testing.assert_close(
            made(labelled, indices, 3, "heun", cond={"label": labels}, guidance=guidance), whole
        )
        for kind in range(3):
            alone = made(
                labelled, indices, 4, "heun", cond={"label": torch.full((10,), kind)}, guidance=guidance
            )
            torch.testing.assert_close(alone[labels == kind], whole[labels == kind])
            assert not torch.isclose(alone[labels != kind], whole[labels != kind]).all(1).any()


@pytest.mark.parametrize(
    ("sampler", "guidance", "cost"), [("ddim", 1.0, 4), ("ddim", 2.0, 8), ("heun", 1.0, 7), ("heun", 2.0, 14)]
)
def test_nfe_is_counted_for_each_batch_anew(labelled, sampler, guidance, cost):
    parts = generate(
        labelled,
        SamplingPlan(sampler, time_grid(labelled.schedule, 4)),
        torch.arange(9),
        guidance=guidance,
        batch=4,
        cond={"label": torch.zeros(9).long()},
    )
    assert [part.nfe for part in parts] == [cost] * 3


@pytest.mark.parametrize("schedule", [Karras(), Trig(sigma_data=0.5)], ids=repr)
def test_noise_starts_at_the_level_of_the_first_time(schedule, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "still", lambda denoise, x, times: iter([State(times[-1], x, x)]))
    model = Denoiser(nn.Identity(), schedule, "x0", (4,))
    x = sample(model, "still", 1, n=5000, spacing="karras")
    assert x.std() == pytest.approx(
        float(schedule.alpha_sigma(schedule.time_of(torch.tensor(80.0).double()))[1]), rel=0.02
    )


# ---- sample


def test_sample_follows_what_was_recorded_with_the_model(oracle):
    oracle.sampling = Sampling("ddpm", "karras", (3, 6))
    assert torch.equal(sample(oracle, n=5), sample(oracle, "ddpm", 3, n=5, spacing="karras"))
    assert not torch.equal(sample(oracle, n=5), sample(oracle, n=5, steps=6))
    assert not torch.equal(sample(oracle, n=5), sample(oracle, n=5, spacing="uniform"))
    assert not torch.equal(sample(oracle, n=5), sample(oracle, n=5, variance="large"))
    assert torch.equal(sample(oracle, n=9, batch=2)[:5], sample(oracle, n=5))


def test_samples_are_those_of_the_data():
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    oracle = GaussianMixture(means, torch.full((2,), 0.25), torch.tensor([3.0, 1.0]), Cosine())
    for sampler in SAMPLERS:
        # no jump of a student, and no Langevin step: that is biased in two dimensions, where the norms of its
        # rule vary
        if sampler not in ("consistency", "gamma", "predictor_corrector", "langevin"):
            x = sample(
                oracle, sampler, steps=40, n=2000, spacing="karras" if sampler == "heun" else "uniform"
            )
            left = x[:, 0] < 0
            assert left.double().mean() == pytest.approx(0.75, abs=0.03), sampler
            assert x[left].mean(0).tolist() == pytest.approx([-2, 0], abs=0.05), sampler
            assert x[left].std(0).tolist() == pytest.approx([0.25, 0.25], rel=0.15), sampler


def test_options_may_be_written_with_the_name(oracle):
    assert torch.equal(
        sample(oracle, "ddim[eta=0.5]", n=4, steps=3), sample(oracle, "ddim", n=4, steps=3, eta=0.5)
    )
    assert torch.equal(
        sample(oracle, "dpmpp_2m", n=4, steps=3, spacing="karras[rho=5]"),
        sample(oracle, "dpmpp_2m", n=4, steps=3, spacing={"name": "karras", "rho": 5}),
    )


def test_states_can_be_watched_on_the_way(oracle):
    seen = []
    x = sample(
        oracle,
        "heun",
        n=5,
        steps=4,
        batch=3,
        watch=lambda part, state: seen.append((part.tolist(), float(state.t))),
    )
    assert [t for part, t in seen] == [0.75, 0.5, 0.25, 0.0] * 2 and [len(part) for part, t in seen] == [
        3
    ] * 4 + [2] * 4
    assert torch.equal(x, sample(oracle, "heun", n=5, steps=4, batch=3)) and not x.is_inference()


def test_one_label_for_all_or_one_for_each(labelled):
    ones = sample(labelled, n=4, steps=2, labels=1)
    assert torch.equal(ones, sample(labelled, n=4, steps=2, labels=torch.tensor([1] * 4)))
    torch.testing.assert_close(sample(labelled, n=4, steps=2, labels=torch.tensor([0, 1, 2, 0]))[1], ones[1])


def test_clip_bounds_the_last_prediction(labelled):
    assert sample(labelled, n=20, steps=3).abs().max() > 0.5
    assert sample(labelled, n=20, steps=3, clip=0.5).abs().max() <= 0.5


def test_samples_can_be_learned_from(oracle):
    """They are ordinary tensors, though no gradient was kept."""
    [part] = generate(oracle, SamplingPlan("ddim", time_grid(oracle.schedule, 2)), torch.arange(3))
    x = part.x
    assert not x.requires_grad and not x.is_inference()
    layer = nn.Linear(2, 1)
    layer(x).sum().backward()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 2.0}, "steps = 2.0: expected a whole number"),
        ({"steps": True}, "steps = True: expected a whole number"),
        ({"seed": None}, "seed = None: expected a whole number"),
        ({"seed": 2**70}, "seed = 1180591620717411303424: expected at least -9223372036854775808"),
        ({"n": 2.5}, "n = 2.5: expected a whole number"),
        ({"batch": "3"}, "batch = '3': expected a whole number"),
    ],
)
def test_numbers_that_are_not_whole_are_refused(net, options, words):
    model = Denoiser(net, Cosine(), "v", (3,))
    with pytest.raises(FastdiffError, match=words):
        sample(model, **{"n": 2, "steps": 2} | options)
