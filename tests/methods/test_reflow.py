"""What is learned from stored pairs (kd, reflow): no loss at the truth, and the toy."""

from copy import deepcopy

import pytest
import torch
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import VP, Cosine, Flow, Karras
from fastdiff.data.toys import mixture
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import LPIPS, PseudoHuber, Uniform
from fastdiff.methods.kd import KD
from fastdiff.methods.reflow import Reflow, UShaped
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.runs import recipe
from fastdiff.training.loop import TrainConfig, Training
from fastdiff.training.pairs import Pairs
from tests.helpers.flow_maps import SIZE, data, energy, exact, of_velocity
from tests.helpers.oracles import MIDDLE, batch_of, named
from tests.helpers.pairs import stored
from tests.helpers.paths import ROOT


def paired(n=4096, seed=0):
    """Pairs of the Gaussian's flow, which only shrinks the noise."""
    batch = batch_of(data(n), seed)
    batch.x0 = SIZE * batch.eps
    return batch


def straight(schedule):
    """The velocity of those pairs, seen from anywhere on the line between them."""
    return of_velocity(lambda t, s: (1 - SIZE) / (SIZE + (1 - SIZE) * schedule.straight(t)), schedule)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), VP()], **named)
@pytest.mark.parametrize(
    ("method", "make"),
    [(KD(), exact), (KD(PseudoHuber()), exact), (Reflow(), straight), (Reflow(times=Uniform()), straight)],
    ids=["kd", "kd-huber", "reflow", "reflow-uniform"],
)
def test_the_truth_has_no_loss_and_others_point_back(method, make, schedule):
    found = []
    for tilt in (0.0, 0.05, -0.05):
        student, batch = make(schedule), paired()
        if isinstance(method, KD):  # what the exact flow makes of the noise at t_max
            t = torch.tensor([schedule.t_max]).double()
            x = schedule.alpha_sigma(t)[1] * batch.eps
            batch.x0 = student(x, t.expand(len(x)), torch.zeros(len(x)).double()).x0.detach()
            student.net.asked.clear()
        with torch.no_grad():
            student.net.tilt.fill_(tilt)
        loss, logs = method.loss(("student",), {"student": student}, batch, MIDDLE)
        found.append((loss.detach(), torch.autograd.grad(loss, student.net.tilt)[0]))
        assert all(v.isfinite() for v in logs.values())
    (loss, still), (_, up), (_, down) = found
    assert loss < 1e-10 and abs(still) < 1e-6 and up > 1e-2 and down < -1e-2


def test_the_u_shaped_law():
    t = UShaped(4.0).draw(SampleRng(0, torch.arange(200_000)), Flow())[0]
    assert (t > 0).all() and (t < 1).all()
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    mass = torch.sinh(4 * (edges - 0.5)).diff() / (2 * torch.sinh(torch.tensor(2.0)))
    share = torch.histc(t.float(), 10, 0, 1) / len(t)
    assert ((share - mass).abs() < 4 * (mass * (1 - mass) / len(t)).sqrt()).all()
    assert UShaped().draw(SampleRng(0, torch.arange(9)), Karras())[0].max() > 1  # in units of t_max


@pytest.mark.parametrize("name", ["kd", "reflow"])
def test_data_without_noise_are_refused(name):
    batch = batch_of(data(8))
    batch.eps = None
    with pytest.raises(FastdiffError, match=f"method {name} learns from stored pairs") as caught:
        METHODS[name]().loss(("student",), {"student": exact(Flow())}, batch, MIDDLE)
    assert "\n" not in str(caught.value)


def test_settings_that_cannot_be_are_refused():
    for make, message in (
        (lambda: UShaped(0.0), "a = 0.0: expected above 0"),
        (lambda: UShaped(float("inf")), "a = inf: expected less than inf"),
        (lambda: Reflow(distance=LPIPS()), "lpips is for images"),
        (lambda: Pairs(steps=0), "steps = 0"),
    ):
        with pytest.raises(FastdiffError, match=message):
            make()


@pytest.mark.parametrize("name", ["kd", "reflow"])
def test_its_recipe(name):
    made, stage, *_ = recipe.load(ROOT / f"recipes/methods/{name}.yaml").stages
    assert made.pairs == Pairs(n=16384) and stage.method == METHODS[name]() and stage.data == "pairs"
    assert made.teacher == stage.init == "checkpoints/digits-labels/teacher"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Pairs of the toy's exact model."""
    return stored(tmp_path_factory.mktemp("drawn"), GaussianMixture(*mixture(), Cosine()), n=4096, steps=18)


def trained(method, start, pairs, folder, **settings):
    student = method.student(deepcopy(start))
    student.sampling = method.sampling()
    config = TrainConfig(**{"steps": 300, "batch": 256, "lr": 2e-3, "ema": 0.98} | settings)
    training = Training(method, Progress, student, None, pairs, config, folder, Accelerator(cpu=True))
    for _ in training:
        pass
    return training.average


@pytest.mark.long
def test_pairs_teach_the_toy(starts, drawn, tmp_path):
    before = energy(starts["timestep"], 1)
    kd = trained(KD(), starts["timestep"], drawn, tmp_path / "kd")
    flow = trained(Reflow(), starts["timestep"], drawn, tmp_path / "reflow")
    figures = {
        "kd": energy(kd, 1),
        **{f"reflow-{k}": energy(flow, k) for k in (1, 2, 4)},
        "start-2": energy(starts["timestep"], 2),
    }
    print({name: round(value / before, 4) for name, value in figures.items()}, round(before, 4))
    assert figures["kd"] < 0.1 * before and figures["reflow-1"] < 0.3 * before
    assert figures["reflow-2"] < figures["reflow-1"] and figures["reflow-2"] < figures["start-2"]
