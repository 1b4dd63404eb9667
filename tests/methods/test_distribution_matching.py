"""Training by matching: the walk that a student is taught on, the fake that follows it,
what runs without data."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_second_time
from fastdiff.core.schedule import Cosine, Karras
from fastdiff.data.registry import batch_at
from fastdiff.data.toys import toy
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.distribution_matching import backward_simulation
from fastdiff.methods.dmd2 import DMD2, DiffInstruct
from fastdiff.methods.sid import SiD
from fastdiff.networks import MLP
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training
from tests.helpers.oracles import MIDDLE, PARAMETERISATIONS, POINT, batch_of, constant, named

COSINE, NONE = Cosine(), Adversary()


WITHOUT = [
    DMD2(gan=NONE),
    DMD2(gan=NONE, steps=(1, 2, 4)),
    SiD(),
    DiffInstruct(),
]  # methods that need no images


def drawn(seed=0, schedule=COSINE, predicts="v", **options):
    """A network every weight of which says something."""
    torch.manual_seed(seed)
    model = Denoiser(MLP(2, 16, 2), schedule, predicts, (2,), **options)
    nn.init.normal_(model.net.last.weight, std=0.3)
    return model


# ---- the walk


class Said:
    """A batch's shared draws, as they are told."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def integers(self, low, high):
        assert low <= self.numbers[0] < high
        return torch.tensor([self.numbers.pop(0)])


def batch_said(which, last, n=64, seed=5):
    return replace(batch_of(torch.full((n, 2), torch.nan), seed), shared=Said(which, last))


@pytest.mark.parametrize("spacing", ["uniform", "karras[ratio_max=2.5,ratio_min=0.5]"])
@pytest.mark.parametrize(("schedule", "predicts"), [(Cosine(), "v"), (Karras(), "edm")], **named)
def test_a_student_is_taught_on_the_walk_that_samples(schedule, predicts, spacing):
    """The same noise: sample's. At its end the images, on the way what the student jumps to."""
    method = DMD2(steps=(1, 2, 4), spacing=spacing)
    student = drawn(schedule=schedule, predicts=predicts, sampling=method.sampling())
    for which, steps in enumerate(method.steps):
        jumps = []
        watch = lambda indices, state, jumps=jumps: jumps.append(state.x0.clone())  # noqa: E731
        images = sample(student, steps=steps, n=64, seed=5, watch=watch)
        torch.testing.assert_close(
            backward_simulation(student, method, batch_said(which, steps - 1))[0], images
        )
        for last in range(steps):
            torch.testing.assert_close(
                backward_simulation(student, method, batch_said(which, last))[0], jumps[last]
            )
        assert len(jumps) == steps and (steps == 1 or (jumps[0] - images).abs().max() > 0.1)


def test_only_the_last_jump_has_a_gradient():
    method, student, asked = DMD2(steps=(4,)), drawn(), []
    hook = student.net.register_forward_pre_hook(
        lambda net, inputs: asked.append((torch.is_grad_enabled(), inputs[0]))
    )
    x = backward_simulation(student, method, batch_said(0, 3))[0]
    hook.remove()
    assert [graded for graded, _ in asked] == [False, False, False, True] and not asked[-1][1].requires_grad
    grid = torch.tensor([1.0, 0.75, 0.5, 0.25]).double()
    alone = student(asked[-1][1], grid[-1], torch.zeros(()).double()).x0
    torch.testing.assert_close(x, alone)
    for own, other in zip(
        *(torch.autograd.grad(v.square().sum(), list(student.net.parameters())) for v in (x, alone))
    ):
        torch.testing.assert_close(own, other)


class Watched(nn.Module):
    """A network that does nothing but keep the times at which it is asked."""

    def __init__(self):
        super().__init__()
        self.times = []

    def forward(self, x, t, s=None, cond=None):
        self.times.append(float(t[0]))
        return x / 2


def test_every_step_of_every_number_of_steps_is_drawn_and_alike_on_every_rank():
    """A number of steps uniformly, then one of its jumps; the samples of a rank are its share of the
    whole."""
    method, student, points, seen = (
        DMD2(steps=(1, 2, 4)),
        Denoiser(Watched(), Cosine(), "x0", (2,), "time"),
        toy(n=64),
        [],
    )
    for position in range(0, 8 * 1200, 8):
        walks, parts = [], []
        for rank, world in ((0, 1), (0, 2), (1, 2)) if position < 200 else ((0, 2),):
            student.net.times = []
            parts.append(
                backward_simulation(
                    student, method, batch_at(points, position, 8, 3, rank=rank, world=world)
                )[0]
            )
            walks.append(tuple(student.net.times))
        assert len(set(walks)) == 1
        seen.append(walks[0])
        if len(parts) == 3:
            torch.testing.assert_close(torch.stack(parts[1:], 1).flatten(0, 1), parts[0])
    expected = {
        (1.0,): 1 / 3 + 1 / 6 + 1 / 12,
        (1.0, 0.5): 1 / 6,
        **{(1.0, 0.75, 0.5, 0.25)[:n]: 1 / 12 for n in (2, 3, 4)},
    }
    found = Counter(seen)
    assert set(found) == set(expected)
    for walk, share in expected.items():
        assert abs(found[walk] / len(seen) - share) < 4 * math.sqrt(share * (1 - share) / len(seen)), walk


# ---- the fake


class Pair(nn.Module):
    """Of noise, exactly a mixture of two normal distributions of unequal weights; `shift` moves it."""

    means, std, weights = torch.tensor([[-0.6, 0.2], [0.4, -0.3]]), 0.15, torch.tensor([0.3, 0.7])

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, x, t, s=None, cond=None):
        share = torch.special.ndtr(x[:, 0].double())  # uniform: it chooses, and what is left of it is uniform
        second = share > self.weights[0]
        left = torch.where(second, (share - self.weights[0]) / self.weights[1], share / self.weights[0])
        own = torch.stack([torch.special.ndtri(left.clamp(1e-9, 1 - 1e-9)).to(x), x[:, 1]], 1)
        return self.shift + self.means[second.long()] + self.std * own


@dataclass
class Follower(DMD2):
    """The fake's turns alone."""

    def turns(self, progress):
        return (("fake",),)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A student, and a fake that was trained on its samples alone."""
    torch.manual_seed(0)
    student = Denoiser(Pair(), Cosine(), "x0", (2,), "time")
    config = TrainConfig(
        steps=800, batch=256, lr=3e-3, betas=(0.9, 0.99), lr_schedule="cosine", log_every=800, save_every=800
    )
    training = Training(
        Follower(gan=NONE),
        Progress,
        student,
        Denoiser(MLP(2, 64, 2), Cosine(), "v", (2,)),
        toy(n=300),
        config,
        tmp_path_factory.mktemp("fake"),
        Accelerator(cpu=True),
    )
    for _ in training:
        pass
    return student, training.trained["fake"].eval()


@pytest.mark.long
def test_a_fake_trained_alone_has_the_students_score(followed):
    student, fake = followed
    assert not student.net.shift.any()  # it did not learn
    truth = GaussianMixture(Pair.means, torch.full((2,), Pair.std), Pair.weights, Cosine())
    torch.manual_seed(0)
    x = student(torch.randn(4000, 2), torch.tensor(1.0).double()).x0.detach()
    for t in (0.1, 0.3, 0.5, 0.7, 0.9):
        at = torch.tensor(t).double()
        y = Cosine().mix(x, torch.randn(4000, 2), at)
        with torch.no_grad():
            own, other = fake(y, at).x0, truth(y, at).x0
        assert (own - other).norm() < 0.1 * x.norm(), t  # measured: 0.03 to 0.07


@pytest.mark.long
def test_its_lag_is_none_until_the_student_moves(followed):
    """Towards the teacher: the fake is behind. Away from it: the other way round."""
    student, fake = followed
    aim = torch.tensor([0.5, 0.5])
    teacher = GaussianMixture(Pair.means + aim, torch.full((2,), Pair.std), Pair.weights, Cosine())
    nets, nothing = (
        {"student": student, "teacher": teacher, "fake": fake},
        batch_of(torch.full((4000, 2), torch.nan)),
    )
    found = []
    for shift in (0.0, 0.1, 0.2, -0.1):
        with torch.no_grad():
            student.net.shift.copy_(shift * aim)
        logs = DMD2(gan=NONE).loss(
            ("student",), nets, replace(nothing, rng=batch_of(nothing.x0).rng), MIDDLE
        )[1]
        found.append(float(logs["lag"]))
    student.net.shift.data.zero_()
    assert (
        abs(found[0]) < 0.04 and 0.08 < found[1] < found[2] / 1.5 and found[3] < -0.08
    )  # 0, 0.13, 0.26, -0.14


# ---- without data


@pytest.mark.parametrize("method", WITHOUT, ids=["dmd2", "dmd2 of several steps", "sid", "diff_instruct"])
def test_without_a_critic_nothing_depends_on_the_data(method):
    assert not method.needs_images
    student, teacher = drawn(0), drawn(1).eval()
    for turn in (("fake",), ("student",)):
        found = []
        for x0 in (torch.randn(64, 2), torch.full((64, 2), torch.nan)):
            torch.manual_seed(5)  # of the layers that a second time needs
            nets = {"student": student, "teacher": teacher, **method.trainable_networks(student, teacher)}
            loss, logs = method.loss(turn, nets, batch_of(x0), MIDDLE)
            weights = list(nets[turn[0]].parameters())
            found.append(
                [loss, *torch.autograd.grad(loss, weights), *(v for k, v in logs.items() if k != "coverage")]
            )
        assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(*found, strict=True))
        assert any(v.abs().max() > 0 for v in found[0][1:])
    assert logs["coverage"].isnan() and logs["spread"].isfinite()


def test_with_a_critic_the_data_are_needed():
    method, student, teacher = METHODS["sida"](), drawn(0), drawn(1).eval()
    nets = {"student": student, "teacher": teacher, **method.trainable_networks(student, teacher)}
    loss, _ = method.loss(("fake", "discriminator"), nets, batch_of(torch.full((64, 2), torch.nan)), MIDDLE)
    assert method.needs_images and METHODS["f_distill"]().needs_images and loss.isnan()


@pytest.mark.parametrize("two", [False, True])
def test_a_fake_of_one_step_begins_as_its_teacher(two):
    method, teacher = METHODS["dmd2"](gan=Adversary()), drawn(1).eval()
    teacher = with_second_time(teacher) if two else teacher
    fake, asked = method.trainable_networks(drawn(0), teacher)["fake"], torch.rand(64).double()
    x, jump = torch.randn(64, 2), torch.tensor(1.0).double()
    with torch.no_grad():
        torch.testing.assert_close(
            fake(x, asked, method.second_time(asked, jump)).x0, teacher(x, asked, asked).x0
        )


# ---- at rest


@pytest.mark.parametrize(("schedule", "predicts"), PARAMETERISATIONS, **named)
@pytest.mark.parametrize("method", WITHOUT, ids=["dmd2", "dmd2 of several steps", "sid", "diff_instruct"])
def test_at_rest_on_one_point(method, schedule, predicts):
    nets = {role: constant(POINT, schedule, predicts) for role in ("student", "teacher", "fake")}
    loss, logs = method.loss(("student",), nets, batch_of(POINT.repeat(256, 1)), MIDDLE)
    loss.backward()
    assert loss.abs() < 1e-9 and nets["student"].net.point.grad.abs().max() < 1e-6
    assert nets["teacher"].net.point.grad is None and nets["fake"].net.point.grad is None
    assert logs["spread"] < 1e-6 and logs["lag"].abs() <= 1 and logs["coverage"] == 1
    moved = constant(POINT + 0.1, schedule, predicts)
    method.loss(
        ("student",),
        nets | {"student": moved, "fake": constant(POINT + 0.1, schedule, predicts)},
        batch_of(POINT.repeat(256, 1)),
        MIDDLE,
    )[0].backward()
    assert (moved.net.point.grad > 0).all()  # downhill is back to the point
