"""Adversarial distillation, ADD and LADD: where the student starts, and what the discriminator sees."""

import pytest
import torch

from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.discriminator_features import Teachers
from fastdiff.samplers import time_grid
from tests.helpers.oracles import MIDDLE, PARAMETERISATIONS, POINT, batch_of, constant, named, told

EVERY = pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], **named)


@EVERY
def test_the_student_starts_as_the_sampler_does_and_at_its_times_alone(schedule):
    """At the first time it is shown noise alone, though the data be far away; elsewhere the data, noised."""
    student, x0 = told(lambda x, t, s: 0 * x, schedule, "x0"), torch.full((400, 2), 1e6)
    _, kind, drawn = LADD(steps=(1, 2, 4)).generate(student, batch_of(x0))
    ((x, t, s, _),) = student.net.asked
    grid = time_grid(schedule, 4, "uniform")[:-1]
    assert (s == 0).all() and set(t.tolist()) <= set(grid.float().tolist()) and len(set(t.tolist())) == 4
    assert torch.equal(grid.flip(0).float()[kind], t) and torch.equal(drawn, t == grid[0].float())
    assert 0.3 < drawn.float().mean() < 0.55
    assert (
        abs(x[drawn].std() - schedule.alpha_sigma(grid[0])[1]) < 0.15 * x[drawn].std()
        and (x[~drawn] > 1e5).all()
    )


def test_data_and_samples_are_shown_at_one_level_with_noise_of_their_own():
    teacher, x = told(lambda x, t, s: 0 * x, Flow(), "x0"), torch.zeros(64, 2)
    method = LADD(gan=Adversary(weight=1.0, features=("",)))
    real, made = method.extract_features({"teacher": teacher}, batch_of(x), x, x)
    ((y, t, _, _),) = teacher.net.asked
    assert torch.equal(t[:64], t[64:]) and t.std() > 0.1 and not torch.equal(y[:64], y[64:])
    assert torch.equal(
        torch.cat([real[0], made[0]])[:, 0], teacher.net.model.target(0 * y, y / t[:, None], t)
    )
    teacher.net.asked.clear()
    Teachers(0.05).extract_features(method.gan, {"teacher": teacher}, batch_of(x), x)
    assert torch.equal(teacher.net.asked[0][1], torch.full((64,), 0.05))


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
def test_on_one_point_the_teacher_has_nothing_to_say(schedule, predicts):
    """And the discriminator, which sees the same in data and samples, is at chance."""
    method = ADD(gan=Adversary(weight=1.0, features=("",)))  # of a network of no parts: what it puts out
    student, teacher = (constant(POINT, schedule, predicts) for _ in range(2))
    discriminator = method.trainable_networks(student.float(), teacher.float())["discriminator"]
    nets = {"student": student, "teacher": teacher, "discriminator": discriminator}
    for turn in (("discriminator",), ("student",)):
        loss, logs = method.loss(turn, nets, batch_of(POINT.repeat(64, 1).float()), MIDDLE)
    assert logs["distill"] < 1e-9 and logs["distill_share"] < 1e-4 and logs["spread"] < 1e-4


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [(LADD(), 3 / 2), (LADD(discriminator_turns=3), 7 / 4), (ADD(), 2.0), (ADD(guidance=3.0), 5 / 2)],
)
def test_the_teachers_evaluations_are_averaged_over_the_turns(method, evaluations):
    assert method.teacher_nfe() == evaluations  # of data and samples; of samples, and for the distance


@EVERY
def test_the_distance_from_the_teachers_denoising_is_weighted_by_alpha(schedule):
    teacher = constant(POINT, schedule, "x0")
    x, kind = torch.zeros(50, 2, dtype=torch.float64), torch.zeros(50, dtype=torch.int64)
    method = ADD(gan=Adversary(weight=1.0, features=("",)), distill=3.0)
    judge = lambda features, kind: features[0][:, 0, :1]  # noqa: E731
    terms = method.loss_terms({"teacher": teacher, "discriminator": judge}, batch_of(x), x, kind)
    t = method.times.draw(batch_of(x).rng, schedule)[0]
    wanted = 3 * schedule.alpha_sigma(t)[0].mean() * POINT.square().mean()
    torch.testing.assert_close(terms["distill"], wanted, rtol=1e-6, atol=0)
