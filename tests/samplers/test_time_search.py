"""The search for few times: against closed forms and brute force, and never worse than where it began."""

import json
import math
import shutil

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.network import Network
from fastdiff.core.prediction import ratio_of
from fastdiff.core.rng import SampleRng
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow, Karras, Trig
from fastdiff.io.export.model import export
from fastdiff.io.load import load, read_metadata, record_times
from fastdiff.networks import mlp
from fastdiff.networks.oracle import GaussianMixture, PosteriorMean
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import generate
from fastdiff.samplers.plan import SamplingPlan
from fastdiff.samplers.time_search import search_times

CENTRES, STDS = (
    torch.tensor([[-0.8, 0.1], [0.6, 0.7], [0.4, -0.9]]).double(),
    torch.tensor([0.15, 0.1, 0.2]).double(),
)
SHARES = torch.tensor([0.3, 0.4, 0.3]).double()


def gaussian(std, schedule):
    return GaussianMixture(
        torch.zeros(1, 1).double(), torch.tensor([std]).double(), torch.ones(1).double(), schedule
    )


class Blurred(Network):
    """A consistency student that jumps well from low noise and badly from high."""

    null_label = None

    def __init__(self, schedule):
        super().__init__()
        self.exact = PosteriorMean(CENTRES, STDS, SHARES, schedule)

    def forward(self, x, t, s=None, cond=None):
        return self.exact(x, t) * (1 - 0.3 * t[:, None]) + 0.1 * t[:, None] * x


def student(sampler="consistency"):
    return Denoiser(
        Blurred(Flow()), Flow(), "x0", (2,), time_input="time", sampling=Sampling(sampler, "uniform", (2, 3))
    )


def data(n=400):
    rng = SampleRng(7, torch.arange(n))
    kind = torch.searchsorted(SHARES.cumsum(0), rng.uniform())
    return (CENTRES[kind] + STDS[kind, None] * rng.normal((2,))).float()


def energy(x, reference=data()):  # noqa: B008
    """Energy distance to draws of the mixture (Szekely & Rizzo 2013), V-statistic."""
    across, within, theirs = (
        torch.cdist(*both).mean() for both in ((x, reference), (x, x), (reference, reference))
    )
    return float(2 * across - within - theirs)


def value_of(model, times, n, sampler="consistency", metric=energy):
    return metric(
        torch.cat([part.x for part in generate(model, SamplingPlan(sampler, times), torch.arange(n))])
    )


@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Karras(), Trig(sigma_data=0.5)], ids=repr)
def test_the_best_time_of_a_gaussian(schedule):
    """Two DDIM steps from ratio R over r make s^2 / (s^2 + r^2) (r + d) / (1 + d / R) of noise, d = s^2 / R.

    The least shrunk is at r = sqrt(s^2 + d^2) - d: at r = s from pure noise, whose R is infinite.
    """
    found = list(
        search_times(
            gaussian(0.6, schedule), 2, lambda x: float((x.std() - 0.6).abs()), sampler="ddim", n=64, tries=24
        )
    )
    (top, r), d = (
        ratio_of(schedule, found[-1].times[:2]).tolist(),
        0.36 / float(ratio_of(schedule, found[-1].times[0])),
    )
    assert (top == math.inf) == (schedule != Karras())
    assert r == pytest.approx(math.sqrt(0.36 + d**2) - d, rel=2e-3)  # a flat minimum, seen in float32
    assert torch.equal(found[-1].times[[0, 2]], time_grid(schedule, 2)[[0, 2]])
    assert found[-1].value < found[0].value


@pytest.mark.parametrize("sampler", ["consistency", "ddim"])
def test_brute_force_finds_no_better_second_step(sampler):
    model, n = student(sampler), 300
    *_, best = search_times(model, 2, energy, n=n, tries=12)
    brute = min(
        value_of(model, torch.tensor([1.0, t, 0.0]).double(), n, sampler)
        for t in torch.linspace(0.01, 0.99, 99)
    )
    start = value_of(model, time_grid(Flow(), 2), n, sampler)
    assert best.value <= brute + 0.02 * (start - brute) and brute < start
    assert value_of(model, best.times, n, sampler) == best.value


def test_three_steps_are_improved_one_at_a_time():
    found = list(search_times(student(), 3, energy, n=200, rounds=2, tries=6))
    values = [value for _, value in found]
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values) > 2
    assert all(times[0] == 1 and times[-1] == 0 and times.diff().max() < 0 for times, _ in found)
    assert ((found[-1].times[1:-1] - found[0].times[1:-1]).abs() > 1e-3).all()
    again = list(search_times(student(), 3, energy, n=200, rounds=2, tries=6, batch=64))
    assert [value for _, value in again] == pytest.approx(values, rel=1e-5)
    assert value_of(student(), found[0].times, 200) == values[0]


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
def test_never_worse_than_it_began(schedule):
    """Whatever the metric: a constant, one that nothing beats, one without sense, one that breaks off."""
    model = gaussian(0.6, schedule)
    first = list(search_times(model, 2, lambda x: 1.0, sampler="ddim", n=4, tries=4))
    assert [found.value for found in first] == [1.0]
    asked = iter(range(10_000))
    assert len(list(search_times(model, 2, lambda x: next(asked), sampler="ddim", n=4, tries=4))) == 1
    senseless = [
        value
        for _, value in search_times(model, 4, lambda x: float((1e5 * x.sum()).sin()), sampler="ddim", n=4)
    ]
    assert senseless == sorted(senseless, reverse=True)
    once = iter([1.0])
    assert (
        len(list(search_times(model, 2, lambda x: next(once, math.nan), sampler="ddim", n=4, tries=4))) == 1
    )


def test_a_single_step_has_nothing_to_search():
    asked = []
    [found] = search_times(student(), 1, lambda x: asked.append(len(x)) or 0.0, n=10)
    assert found.times.tolist() == [1, 0] and asked == [10]


def test_the_cost_is_known():
    asked = []
    list(search_times(student(), 3, lambda x: asked.append(1) or 0.0, n=4, tries=5, rounds=9))
    assert len(asked) == 1 + 2 * 5  # the first round changes nothing: it is the last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tries": 1}, "tries = 1: expected at least 2"),
        ({"rounds": 0}, "rounds = 0"),
        ({"n": 0}, "n = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"metric": lambda x: math.nan}, "the metric of the first grid is not finite"),
        ({"sampler": "dim"}, "sampler 'dim' is unknown"),
    ],
)
def test_bad_searches_are_refused(options, message):
    with pytest.raises(FastdiffError, match=message):
        list(search_times(student(), options.pop("steps", 2), options.pop("metric", energy), **options))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    sampling = Sampling("ddim", "quadratic", (2, 3))
    export(
        Denoiser(mlp((2,), width=8, depth=1), Cosine(), "v", (2,), sampling=sampling),
        folder,
        {"method": "ect"},
    )
    return folder


def test_found_times_are_stored_with_the_model(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    before = read_metadata(folder)
    *_, best = search_times(load(folder), 2, lambda x: float(x.square().mean()), n=16)
    record_times(folder, best.times)
    record_times(str(folder), [0.9, 0.7, 1 / 3])
    sampling = load(folder).sampling
    assert sampling.spacing_for(2) == tuple(best.times[:-1].tolist())  # to the last bit
    assert sampling.spacing_for(3) == (0.9, 0.7, 1 / 3) and sampling.spacing_for(4) == "quadratic"
    assert torch.equal(time_grid(Cosine(), 2, sampling.spacing_for(2)), best.times)
    after = read_metadata(folder)
    assert after["sampling"].pop("times") and before["sampling"].pop("times") == [] and after == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in exported.iterdir())
    export(load(folder), tmp_path / "model", {})
    assert load(folder).sampling == sampling


def test_a_model_from_before_there_were_times_loads(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    notes = read_metadata(folder)
    del notes["sampling"]["times"]
    (folder / "fastdiff.json").write_text(json.dumps(notes))
    assert load(folder).sampling == Sampling("ddim", "quadratic", (2, 3))
    record_times(folder, [1.0, 0.2])
    assert load(folder).sampling.times == ((1.0, 0.2),)


def test_times_need_a_model_to_be_kept_with(tmp_path):
    with pytest.raises(FastdiffError, match=r"no fastdiff.json to store the times in"):
        record_times(tmp_path, [1.0])


def test_a_view_on_another_schedule_is_not_exported(exported, tmp_path):
    with pytest.raises(FastdiffError, match="a model on another schedule has no file format"):
        export(load(exported).with_schedule(Karras()), tmp_path, {})
