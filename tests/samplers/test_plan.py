"""What cannot be sampled is refused in words."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import GuidanceOptions, Guided
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, Cosine, Flow, Sigmoid, Trig
from fastdiff.networks import mlp
from fastdiff.samplers.conditions import check_labels
from fastdiff.samplers.generate import sample
from fastdiff.samplers.plan import plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "dim"}, "sampler 'dim' is unknown, did you mean ddim"),
        ({"steps": 0}, "steps = 0: expected at least 1"),
        ({"steps": -2}, "steps = -2: expected at least 1"),
        ({"n": 0}, "n = 0: expected at least 1"),
        ({"spacing": "even"}, "spacing 'even' is unknown"),
        ({"spacing": "trailing", "steps": 1001}, "1001 steps are too many"),
        ({"sampler": "ddim", "temperature": 2}, "sampler ddim.temperature is unknown, choose from eta"),
        ({"sampler": "heun", "eta": 1.0}, "sampler heun.eta is unknown"),
        (
            {"sampler": "ddpm", "variance": "medium"},
            "ddpm.variance: expected small, large or learned, got",
        ),
        ({"sampler": "ddim", "randn": torch.randn_like}, "sampler ddim.randn is unknown"),
        ({"sampler": "ddim[eta=0.5"}, "expected a name, or name"),
        ({"sampler": "ddim[eta]"}, "expected option=value in the brackets, got 'eta'"),
        ({"sampler": "ddim[eta=much]"}, "sampler ddim.eta: expected a number"),
        ({"labels": 3}, "labels: expected 0 to 2, got 3 to 3"),
        ({"labels": -1}, "labels: expected 0 to 2, got -1 to -1"),
        ({"labels": torch.tensor([0, 2, 7]), "n": 3}, "labels: expected 0 to 2, got 0 to 7"),
        ({"guidance": 2.0}, "guidance = 2.0 needs labels"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(labelled, arguments, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        sample(labelled, **{"n": 2, **arguments})
    assert "\n" not in str(caught.value)


def test_labels_for_a_model_without_any_are_refused(oracle):
    for model in (oracle, Denoiser(mlp((2,), width=8), Flow(), "velocity", (2,))):
        with pytest.raises(FastdiffError, match="labels: this model takes no labels"):
            sample(model, n=2, steps=1, labels=0)


def test_a_student_of_one_grid_is_not_sampled_on_another(labelled):
    student = Denoiser(
        labelled.net, Flow(), "velocity", (2,), sampling=Sampling("ddim", "uniform", (4, 2), only=True)
    )
    assert torch.equal(plan(student, None, 4, "uniform").times, plan(student, None, 4, None).times)
    with pytest.raises(FastdiffError, match="trained only for the uniform grid, not for spacing karras"):
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
    with pytest.raises(FastdiffError, match=f"{min(idle)} = .* has no effect at guidance = 1"):
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
        way = plan(student, None, steps, None)
        assert (way.sampler, len(way.times) - 1, way.sampler_options) == ("ddim", wanted, {})
        assert way.guidance_options == GuidanceOptions()


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
    with pytest.raises(FastdiffError, match="has no sample shape"):
        sample(Denoiser(labelled.net, Flow(), "velocity"), n=2)


def test_check_labels_gives_integers(labelled):
    assert check_labels(labelled, torch.tensor([0, 2], dtype=torch.int32)).dtype == torch.int64


def test_the_recorded_end_and_rounding_are_of_the_recorded_sampler():
    own = Sampling("ddim", "leading", (4,), clip=0.5, end=(0.99, 0.1), time_rounding="floor")
    model = Denoiser(mlp((2,), width=8), DDPM(), "eps", (2,), sampling=own)
    for sampler in (None, "ddim", "ddim[eta=0.5]"):
        assert Guided(model, **vars(plan(model, sampler).guidance_options)).options.end == (0.99, 0.1)
    found = Guided(model, **vars(plan(model, "dpmpp_2m").guidance_options)).options
    assert (found.end, found.time_rounding, found.clip) == ((1.0, 0.0), "exact", 0.5)


def test_samples_are_bounded_as_recorded_or_as_given():
    own = Sampling("ddim", "leading", (4,), clip=0.5)
    model = Denoiser(mlp((2,), width=8), DDPM(), "eps", (2,), sampling=own)
    assert sample(model, n=8).abs().max() <= 0.5 < sample(model, n=8, clip=float("inf")).abs().max()
    assert sample(model, n=8, clip=0.2).abs().max() <= 0.2
