"""The consistency family at the truth: no loss on the exact trajectory, no gradient,
and the way back to it."""

from copy import deepcopy

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import LogNormal, SquaredL2, Uniform
from fastdiff.methods.cd import CD
from fastdiff.methods.consistency_curricula import CT, ICT
from fastdiff.methods.ect import ECT
from fastdiff.methods.progressive import implied_x0
from fastdiff.methods.tcm import TCM
from fastdiff.methods.time_sampling import KarrasIndex
from tests.helpers.consistency import IN_TIME, Dropping, data, exact, gaussian, std
from tests.helpers.oracles import MIDDLE, POINT, batch_of, constant, named, told

END = Progress(999, 1000, 0)


@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)
@pytest.mark.parametrize(
    "settings",
    [{"times": Uniform(), **IN_TIME}, {"times": LogNormal()}, {"mu": 0.95}],
    ids=["time", "sigma", "grid"],
)
def test_along_the_exact_trajectory_the_exact_function_has_no_loss(settings, schedule):
    def x0(x, t, s):
        return implied_x0(schedule, x, t, like(std(schedule, s) / std(schedule, t), x) * x, s)

    method, student = CD(distance=SquaredL2(), solver="euler", **settings), exact(schedule)
    nets = {
        "student": student,
        "teacher": told(x0, schedule, "x0", (1,)),
        **dict.fromkeys(method.target_emas(), student),
    }
    loss, logs = method.loss(("student",), nets, batch_of(data(512)), MIDDLE)
    loss.backward()
    assert loss < 1e-20 and student.net.tilt.grad.abs() < 1e-9 and logs["self_error"] < 1e-10


METHODS_AT_TRUTH = [
    ECT(start=0.004, halvings=0, distance=SquaredL2()),
    ECT(times=Uniform(), start=0.004, halvings=0, distance=SquaredL2(), **IN_TIME),
    ECT(times=KarrasIndex(600), distance=SquaredL2()),
    CD(times=Uniform(), start=0.02, halvings=0, distance=SquaredL2(), solver="euler", **IN_TIME),
    CD(times=LogNormal(-1.1, 2.0), start=0.02, halvings=0),
    CD(times=KarrasIndex(100), solver="heun", mu=0.9, distance=SquaredL2()),
    CT(s1=600),
    ICT(distance=SquaredL2()),
    TCM(start=0.01, distance=SquaredL2()),
]


@pytest.mark.parametrize("method", METHODS_AT_TRUTH, **named)
def test_the_gradient_vanishes_at_the_truth_and_points_back_to_it(method):
    """Squared distances, for whose mean the pairs of one noise are as good as trajectories, up to the gap."""
    schedule, slopes = Cosine(), {}
    for tilt in (-0.1, 0.0, 0.1):
        found = []
        for seed in range(8):
            student = exact(schedule)
            student.net.tilt.data.fill_(tilt)
            nets = {
                "student": student,
                "teacher": gaussian(schedule),
                "stage_one": exact(schedule),
                **{r: exact(schedule, student.net.tilt.detach()) for r in method.target_emas()},
            }
            loss, _ = method.loss(("student",), nets, batch_of(data(1 << 14, seed), seed + 100), END)
            found.append(torch.autograd.grad(loss, student.net.tilt)[0])
        found = torch.stack(found)
        slopes[tilt] = found.mean(), found.std() / 8**0.5
    (down, at), (truth, error), (up, around) = slopes.values()
    assert down < -5 * at and up > 5 * around
    assert truth.abs() < 3 * error + 0.1 * up  # what the gap leaves


@pytest.mark.parametrize("name", ["ect", "cd", "ct", "ict", "tcm"])
def test_at_rest_on_one_point(name):
    method, schedule = METHODS[name](), Cosine()
    student, still = (constant(POINT, schedule, "v") for _ in range(2))
    still.sampling = Sampling("consistency")
    nets = {
        "student": student,
        "teacher": still,
        **method.frozen_networks(student, still),
        **dict.fromkeys(method.target_emas(), still),
    }
    loss, logs = method.loss(("student",), nets, batch_of(POINT.repeat(256, 1)), MIDDLE)
    loss.backward()
    assert loss.abs() < 1e-9 and student.net.point.grad.abs().max() < 1e-6
    assert all(torch.isfinite(v) for v in logs.values()) and logs["self_error"] < 1e-9


@pytest.mark.parametrize(
    "method", [ECT(), CD(times=LogNormal(), mu=0.9), CD(solver="euler"), CT(), ICT(), TCM()], **named
)
def test_with_r_at_t_there_is_no_loss_though_dropout_is_on(method, monkeypatch):
    """The passes can only differ by their masks, and every loss but CT's and CD's average weighs that by a
    billion."""

    def close(t):
        return t * (1 - 1e-9)

    monkeypatch.setattr(ECT, "earlier_time", lambda self, schedule, t, progress: close(t))
    draw = KarrasIndex.pair
    monkeypatch.setattr(KarrasIndex, "pair", lambda *a: (t := draw(*a)[0], close(t)))
    torch.manual_seed(0)
    student = Denoiser(Dropping(), Flow(), "velocity", (2,), time_input="time").train()
    nets = {
        "student": student,
        "teacher": constant(POINT, Flow(), "velocity"),
        "stage_one": deepcopy(student),
        **{r: deepcopy(student).eval() for r in method.target_emas()},
    }
    before = torch.random.get_rng_state()
    loss, _ = method.loss(("student",), nets, batch_of(torch.randn(64, 2, dtype=torch.float64)), MIDDLE)
    assert loss < 1e-3
    assert not torch.equal(torch.random.get_rng_state(), before)
    masks = [
        mask
        for net in {id(n.net): n.net for n in nets.values()}.values()
        for mask in getattr(net, "seen", [])
    ]
    assert len(masks) == (3 if "stage_one" in nets and isinstance(method, TCM) else 2)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
