"""Guided distillation against its closed form, and on the toy."""

import math
from copy import deepcopy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.data.registry import batch_at
from fastdiff.data.toys import toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import Progress
from fastdiff.methods.guidance_distillation import GuidedDistillation
from fastdiff.methods.progressive import Progressive, Stochastic
from fastdiff.networks import mlp
from fastdiff.samplers.generate import sample
from fastdiff.training.loop import TrainConfig, Training
from tests.helpers.guided_students import Classes, Told, given, guided_batch, labelled, model_of
from tests.helpers.networks import small
from tests.helpers.oracles import MIDDLE, START, batch_of, constant, mixture

# ---- the loss, against the closed form


@pytest.mark.parametrize("weight", ["truncated_snr", "snr_plus_1"])
@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()], ids=lambda s: type(s).__name__)
def test_no_loss_at_the_truth_and_a_gradient_back_to_it(schedule, weight):
    oracle, teacher = mixture(schedule), model_of(Classes, schedule)
    method = GuidedDistillation((1.0, 4.0), weight)
    for error, sign in ((0.0, 0), (0.1, 1), (-0.1, -1)):
        student = model_of(Told, schedule, error=error)
        loss, logs = method.loss(
            ("student",), {"student": student, "teacher": teacher}, guided_batch(oracle), START
        )
        loss.backward()
        slope = float(student.net.error.grad)
        assert slope * sign > 1e-3 if sign else loss < 1e-20 and abs(slope) < 1e-9
        assert logs.keys() == {"error", "error_low", "error_mid", "error_high"}
    plain, batch = model_of(Classes, schedule), guided_batch(oracle)  # the teacher itself is not the answer
    plain.net.told = lambda none, given, weight: given
    assert method.loss(("student",), {"student": plain, "teacher": teacher}, batch, START)[0] > 1e-2


def test_at_rest_on_one_point():
    point = torch.tensor([0.3, -0.7]).double()
    student, teacher = (constant(point, Cosine(), "v") for _ in range(2))
    cond = {"label": torch.zeros(64).long(), "guidance": torch.full((64,), 3.0)}
    loss, _ = GuidedDistillation().loss(
        ("student",),
        {"student": student, "teacher": teacher},
        batch_of(point.repeat(64, 1), cond=cond),
        MIDDLE,
    )
    loss.backward()
    assert loss < 1e-20 and student.net.point.grad.abs().max() < 1e-9


def test_the_teacher_is_asked_for_both_and_told_no_weight():
    schedule, seen = Flow(), []
    teacher, student = model_of(Classes, schedule), model_of(Told, schedule)
    teacher.register_forward_pre_hook(lambda model, given: seen.append(given))
    nets, batch = {"student": student, "teacher": teacher}, guided_batch(mixture(schedule), 8)
    GuidedDistillation().loss(("student",), nets, batch, START)
    (x, t, _, null), (same, at, _, cond) = seen
    assert torch.equal(x, same) and torch.equal(t, at)
    assert (null["label"] == teacher.net.null_label).all() and "guidance" not in null
    assert not torch.equal(null["label"], cond["label"])
    assert GuidedDistillation().teacher_nfe() == 2


@pytest.mark.parametrize("weights", [(4.0, 1.0), (-1.0, 2.0), (1.0, math.inf), (math.nan, 2.0)])
def test_a_range_that_is_none_is_refused(weights):
    with pytest.raises(FastdiffError, match="weights = .*: expected a range of guidance weights"):
        GuidedDistillation(weights)


def test_a_teacher_that_cannot_guide_is_refused():
    with pytest.raises(FastdiffError, match="guided: the teacher takes no labels"):
        GuidedDistillation().trainable_networks(None, small("mlp", 0))
    with pytest.raises(FastdiffError, match="guided: the teacher takes a guidance weight already"):
        GuidedDistillation().trainable_networks(None, given("mlp")[1])


def test_progressive_of_a_guided_teacher_has_no_loss_at_its_composed_step_under_each_weight():
    schedule, steps = Cosine(), 4
    teacher = model_of(Told, schedule)

    class Composed(Network):
        null_label = 3

        def forward(self, x, t, s=None, cond=None):
            mid, s = t - schedule.t_max / steps / 2, t - schedule.t_max / steps
            half = schedule.mix(*teacher(x, t, mid, cond), mid)
            late = teacher(half, mid, s, cond)
            end = schedule.mix(*late, s)
            (alpha_t, sigma_t), (alpha_s, sigma_s) = (
                (like(c, x) for c in schedule.alpha_sigma(time)) for time in (t, s)
            )
            keep = sigma_s / sigma_t
            return torch.where(like(s, x) > 1e-9, (end - keep * x) / (alpha_s - keep * alpha_t), late.x0)

    student = Denoiser(Composed(), schedule, "x0", (2,), time_input="time", guidance=(1.0, 4.0))
    nets, batch = {"student": student, "teacher": teacher}, guided_batch(mixture(schedule))
    assert Progressive(steps=steps).loss(("student",), nets, batch, START)[0] < 1e-18
    other = guided_batch(mixture(schedule))
    other.cond["guidance"] = other.cond["guidance"].flip(0)  # the weights of others are not the answer
    nets["student"] = Denoiser(Swapped(Composed(), other.cond), schedule, "x0", (2,), time_input="time")
    assert Progressive(steps=steps).loss(("student",), nets, guided_batch(mixture(schedule)), START)[0] > 1e-3


class Swapped(nn.Module):
    """A network under another condition than it is asked for."""

    def __init__(self, net, cond):
        super().__init__()
        self.net, self.cond = net, cond

    def forward(self, x, t, s=None, cond=None):
        return self.net(x, t, s, self.cond)


# ---- the weights of a batch


def test_each_example_gets_a_weight_of_the_range_whoever_draws_it():
    data = labelled(400)
    one, *two = (
        batch_at(data, 120, 400, 5, rank=r, world=w, guidance=(1.0, 4.0)) for r, w in ((0, 1), (0, 2), (1, 2))
    )
    weights = one.cond["guidance"]
    assert weights.dtype == torch.float32 and 1 <= weights.min() < 1.1 and 3.9 < weights.max() <= 4
    assert weights.double().mean() == pytest.approx(2.5, abs=4 * (9 / 12 / 400) ** 0.5)
    assert torch.equal(torch.stack([b.cond["guidance"] for b in two], 1).flatten(), weights)
    assert "guidance" not in batch_at(data, 120, 400, 5).cond
    assert batch_at(data, 0, 4, 0, guidance=(3.0, 3.0)).cond["guidance"].tolist() == [3.0] * 4
    with pytest.raises(FastdiffError, match="takes a guidance weight, but the data toy have no labels"):
        batch_at(toy(n=8), 0, 4, 0, guidance=(1.0, 4.0))


# ---- learning: on the toy mixture, its components in three classes


def learned(method, student, teacher, folder, steps, **settings):
    """The exported average of a short training."""
    torch.set_num_threads(1)
    config = TrainConfig(
        **{"steps": steps, "batch": 256, "ema": 0.98, "lr": 3e-3, "log_every": steps, **settings}
    )
    run = Training(
        method, Progress, deepcopy(student), teacher, labelled(), config, folder, Accelerator(cpu=True)
    )
    assert all(math.isfinite(v) for logs in [logs for _, logs in run if logs] for v in logs.values())
    return run.average.requires_grad_(False)


@pytest.mark.long
def test_it_learns_the_guided_prediction_of_every_weight(tmp_path):
    schedule = Cosine()
    teacher, method = model_of(Classes, schedule).float(), GuidedDistillation((1.0, 4.0))
    torch.manual_seed(0)
    start = method.student(Denoiser(mlp((2,), 3, width=64), schedule, "v", (2,)))
    student = learned(method, start, teacher, tmp_path, 300)
    x0 = labelled(2048)
    t = torch.linspace(0.05, 1, 2048).double()
    x, cond = (
        schedule.mix(x0.examples, torch.randn(2048, 2, generator=torch.Generator().manual_seed(1)), t),
        x0.labels,
    )
    wanted, found, before = {}, {}, {}
    for weight in (1.0, 2.0, 3.0, 4.0):
        none, some = teacher(x, t).x0, teacher(x, t, t, {"label": cond}).x0
        wanted[weight] = none + weight * (some - none)
        asked_of = {"label": cond, "guidance": torch.full((2048,), weight)}
        found[weight], before[weight] = student(x, t, t, asked_of).x0, start(x, t, t, asked_of).x0.detach()
        error, untrained = ((p[weight] - wanted[weight]).square().mean().sqrt() for p in (found, before))
        print(weight, float(error), float(untrained))
        assert error < 0.25 * untrained
    change, truth = found[3.0] - found[1.0], wanted[3.0] - wanted[1.0]
    print(float((change - truth).norm() / truth.norm()))
    assert (change - truth).norm() < 0.3 * truth.norm()  # what the weight does is what guidance does


@pytest.mark.long
def test_a_stochastic_chain_learns_on_the_toy(tmp_path):
    """From the closed form to two steps by way of eight and four, three short stages."""
    torch.manual_seed(0)
    data, model, teacher = (
        labelled().examples,
        Denoiser(mlp((2,), width=64), Cosine(), "v", (2,)),
        mixture(Cosine()).float(),
    )

    def far(model):
        return discrepancy(sample(model, "overshoot", 2, n=2000, seed=3), data[:2000], distance).value

    before = far(teacher)
    for steps, length in ((8, 300), (4, 100), (2, 100)):
        method = Stochastic(steps=steps)
        model = teacher = learned(method, model, teacher, tmp_path / f"{steps}", length, **method.training)
    print(before, far(model))
    assert far(model) < 0.15 * before
