"""Consistency on a grid of the teacher's steps: no loss where the student composes them."""

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.methods.lcm import LCM, PCM, TCD
from fastdiff.methods.progressive import implied_x0
from fastdiff.networks import mlp
from tests.helpers.oracles import MIDDLE, batch_of, draws_of, mixture, told

KIN = {"lcm": LCM, "tcd": TCD, "pcm": PCM}


def test_a_guided_teacher_without_labels_of_the_data_is_refused():
    model = Denoiser(mlp((2,), classes=3), Cosine(), "v", (2,))
    for cond in (None, {"image": torch.zeros(4, 1, 2, 2)}):
        with pytest.raises(
            FastdiffError, match=r"guidance needs labels or captions of the data: choose a weight of 1"
        ):
            PCM().loss(
                ("student",),
                {"student": model, "teacher": model, "target": model},
                batch_of(torch.zeros(4, 2), cond=cond),
                MIDDLE,
            )


def chain(teacher, points):
    """The x0 with which one DDIM step goes to s where the teacher's steps along the grid lead from t."""
    schedule = teacher.schedule

    def clean(x, t, s):
        at, here = t, x
        for _ in range(points):
            near = torch.maximum(at - schedule.t_max / points, s)
            near = torch.where(near < 1e-9, 0.0, near)
            step = schedule.mix(*teacher(here, at.clamp(min=1e-3), near), near)
            here, at = torch.where(like(at > s, x) > 0, step, here), near
        return implied_x0(schedule, x, t, here, s)

    return clean


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("weight", ["none", "snr_plus_1"])
@pytest.mark.parametrize("name", KIN)
def test_a_student_that_composes_the_teachers_steps_has_no_loss(name, weight, schedule):
    more = {"weight": weight} | ({"phases": 2} if name == "pcm" else {})
    teacher, method = mixture(schedule), KIN[name](points=5, weights=(1.0, 1.0), mu=0.0, **more)
    batch = lambda: batch_of(draws_of(teacher, 256))  # noqa: E731
    student = told(chain(teacher, 5), schedule, "v")
    assert method.loss(("student",), {"student": student, "teacher": teacher}, batch(), MIDDLE)[0] < 1e-9
    (_, t, u, _), (_, s, again, _) = student.net.asked
    assert sorted(set((5 * t).round().tolist())) == [1, 2, 3, 4, 5]
    assert torch.equal(u, again) and (u <= s + 1e-12).all() and torch.allclose(t - s, torch.full_like(t, 0.2))
    ends = {"lcm": {0.0}, "pcm": {0.0, 0.6}}.get(name)
    assert ends is None or {round(end, 9) for end in u.tolist()} == ends
    if name == "tcd":  # anywhere up to s
        assert 0.4 < float((u / s)[s > 0].mean()) < 0.6 and len(set(u[s > 0].tolist())) > 150
    if name == "pcm":  # its own phase: from 0.6, which is an edge, to the data
        assert ((t > 0.7) == (u > 0.5)).all()
    nets = {"student": told(lambda x, t, s: teacher(x, t, s).x0, schedule, "v"), "teacher": teacher}
    assert method.loss(("student",), nets, batch(), MIDDLE)[0] > 1e-3  # the teacher itself is not the answer


@pytest.mark.parametrize("name", KIN)
def test_a_weight_by_level_multiplies_the_distance(name):
    """Of Huber's, which is of first degree, the root of SNR + 1: 1 / sigma on the cosine schedule."""
    teacher, schedule = mixture(Cosine()), Cosine()
    plain, weighted = (KIN[name](points=5, weights=(1.0, 1.0), weight=w) for w in ("none", "snr_plus_1"))
    a, b, t = torch.randn(64, 2), torch.randn(64, 2), torch.linspace(0.1, 1, 64, dtype=torch.float64)
    each = plain.distance(a, b)
    torch.testing.assert_close(plain.disagreement(schedule, a, b, t), each.mean().double())
    wanted = (each / (t * torch.pi / 2).sin()).mean()
    torch.testing.assert_close(weighted.disagreement(schedule, a, b, t), wanted)
    nets = {"student": told(lambda x, t, s: 0.5 * x, schedule, "v"), "teacher": teacher}
    losses = [
        method.loss(("student",), nets | {"target": nets["student"]}, batch_of(draws_of(teacher, 64)), MIDDLE)
        for method in (plain, weighted)
    ]
    assert losses[1][0] > 1.05 * losses[0][0] > 0


def test_a_tcd_student_may_take_the_time_it_jumps_to():
    model = Denoiser(mlp((2,)), Cosine(), "v", (2,))
    plain, second = (TCD(weights=(1.0, 1.0), second_time=two).student(model) for two in (False, True))
    assert not plain.two_times and second.two_times
    x, t = torch.randn(4, 2), torch.full((4,), 0.7, dtype=torch.float64)
    torch.testing.assert_close(second(x, t, t / 2).x0, model(x, t).x0)  # until it is trained
