"""Sample i is a function of (model, sampler, grid, seed, i), and what cannot be sampled is refused in words."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.networks import mlp, unet
from fastdiff.networks.inference import tune
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, State, time_grid
from fastdiff.samplers.generate import check_labels, generate, sample
from fastdiff.samplers.plan import SamplingPlan, plan


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = unet((1, 8, 8), 3, channels=(8, 8), layers=1, groups=4).eval().requires_grad_(False)
    return Denoiser(net, Cosine(), "v", (1, 8, 8))


@pytest.fixture(scope="module")
def labelled():
    torch.manual_seed(0)
    net = mlp((2,), 3, width=16, depth=1)
    nn.init.normal_(net.last.weight)
    return Denoiser(net.requires_grad_(False), Flow(), "velocity", (2,), time_input="thousand")


@pytest.fixture
def oracle():
    return GaussianMixture(torch.randn(3, 2), torch.full((3,), 0.1), torch.ones(3), Cosine())


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


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "dim"}, "sampler 'dim' is unknown, choose from ddpm, ddim, euler"),
        ({"steps": 0}, "steps = 0: expected at least 1"),
        ({"steps": -2}, "steps = -2: expected at least 1"),
        ({"n": 0}, "n = 0: expected at least 1"),
        ({"spacing": "even"}, "spacing 'even' is unknown"),
        ({"spacing": "trailing", "steps": 1001}, "1001 steps are too many"),
        ({"sampler": "ddim", "temperature": 2}, "sampler ddim.temperature is unknown, choose from eta"),
        ({"sampler": "heun", "eta": 1.0}, "sampler heun.eta is unknown"),
        (
            {"sampler": "ddpm", "variance": "medium"},
            "ddpm.variance: input should be 'small', 'large' or 'learned', got",
        ),
        ({"sampler": "ddim", "randn": torch.randn_like}, "sampler ddim.randn is unknown"),
        ({"sampler": "ddim[eta=0.5"}, "expected a name, or name"),
        ({"sampler": "ddim[eta]"}, "expected option=value in the brackets, got 'eta'"),
        ({"sampler": "ddim[eta=much]"}, "sampler ddim.eta: input should be a valid number"),
        ({"labels": 3}, "labels must be 0 to 2, got 3 to 3"),
        ({"labels": -1}, "labels must be 0 to 2, got -1 to -1"),
        ({"labels": torch.tensor([0, 2, 7]), "n": 3}, "labels must be 0 to 2, got 0 to 7"),
        ({"guidance": 2.0}, "guidance = 2.0 needs labels"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(labelled, arguments, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        sample(labelled, **{"n": 2, **arguments})
    assert "\n" not in str(caught.value)


def test_labels_for_a_model_without_any_are_refused(oracle):
    for model in (oracle, Denoiser(mlp((2,), width=8), Flow(), "velocity", (2,))):
        with pytest.raises(FastdiffError, match="labels were given, but this model takes none"):
            sample(model, n=2, steps=1, labels=0)


def test_a_student_of_one_grid_is_not_sampled_on_another(labelled):
    student = Denoiser(
        labelled.net, Flow(), "velocity", (2,), sampling=Sampling("ddim", "uniform", (4, 2), only=True)
    )
    assert torch.equal(plan(student, None, 4, "uniform").times, plan(student, None, 4, None).times)
    with pytest.raises(FastdiffError, match="trained for the uniform grid alone, not for spacing karras"):
        plan(student, None, 4, "karras")


def test_times_that_were_found_belong_to_their_sampler(oracle):
    oracle.sampling = Sampling("consistency", "uniform", (1, 2)).with_times([1.0, 0.9])
    assert plan(oracle, None, 2, None).times.tolist() == [1.0, 0.9, 0.0]
    assert plan(oracle, "ddim", 2, None).times.tolist() == [1.0, 0.5, 0.0]
    assert plan(oracle, None, 2, "quadratic").times.tolist() == [1.0, 0.25, 0.0]


def test_a_grid_that_stops_early_ends_in_a_clean_prediction(oracle):
    seen = []
    watch = lambda part, state: seen.append(state)  # noqa: E731
    x = sample(oracle, "heun", n=4, steps=5, spacing="uniform[stop=0.2]", watch=watch)
    t = torch.tensor(0.2, dtype=torch.float64)
    torch.testing.assert_close(x, oracle(seen[-1].x, t, t).x0)


@pytest.mark.parametrize("idle", [{"rescale": 0.5}, {"every": 2}, {"interval": (0.1, 5.0)}])
def test_guidance_without_a_scale_is_refused(labelled, idle):
    with pytest.raises(FastdiffError, match=f"{min(idle)} = .* is about guidance, and guidance = 1 is none"):
        sample(labelled, n=2, steps=2, labels=1, **idle)


def test_a_student_of_two_times_is_not_asked_for_slopes(labelled):
    student = Denoiser(labelled.net, Flow(), "velocity", (2,), two_times=True)
    for sampler in ("euler", "heun", "dpmpp_2m", "langevin", "ode45"):
        with pytest.raises(
            FastdiffError, match=f"sampler {sampler} needs the slope at a time, .* choose from ddim, "
        ):
            plan(student, sampler, 2, None)
    assert plan(student, "ddim", 2, None).sampler == "ddim"


def test_a_student_of_one_step_count_is_not_sampled_at_another(labelled):
    student = Denoiser(
        labelled.net, Flow(), "velocity", (2,), sampling=Sampling("ddim", "uniform", (4, 2), only=True)
    )
    for sampler, steps in (("ddim", 3), ("heun", 4), (None, 1)):
        with pytest.raises(FastdiffError, match="this model was trained for ddim at 4 or 2 steps, not for"):
            plan(student, sampler, steps, None)
    for steps, wanted in ((None, 4), (4, 4), (2, 2)):
        name, times, options = plan(student, None, steps, None)
        assert (name, len(times) - 1, options) == ("ddim", wanted, {})


@pytest.mark.parametrize(
    ("predicts", "schedule"), [("eps", Cosine()), ("eps", Flow()), ("eps", Trig()), ("velocity", Sigmoid())]
)
def test_a_prediction_that_says_nothing_of_pure_noise_is_refused_there(labelled, predicts, schedule):
    model = Denoiser(labelled.net, schedule, predicts, (2,))
    with pytest.raises(
        FastdiffError, match=f"predicts {predicts} cannot start at t = .* choose spacing karras"
    ):
        sample(model, n=2)
    assert sample(model, n=2, spacing="karras").isfinite().all()


def test_a_model_of_no_shape_is_refused(labelled):
    with pytest.raises(FastdiffError, match="does not say the shape of a sample"):
        sample(Denoiser(labelled.net, Flow(), "velocity"), n=2)


def test_check_labels_gives_integers(labelled):
    assert check_labels(labelled, torch.tensor([0, 2], dtype=torch.int32)).dtype == torch.int64
