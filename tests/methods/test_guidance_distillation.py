"""Guided distillation: a network is told its guidance, learns it of a closed form, keeps it in files and in later stages."""

import json
import math
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from diffusers import UNet2DModel
from torch import nn

from fastdiff.core.denoiser import Denoiser, with_guidance, with_second_time
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided, usual_guidance
from fastdiff.core.schedule import Cosine, Flow, Karras, like
from fastdiff.data.registry import DATASETS, Dataset, batch_at
from fastdiff.data.toys import toy
from fastdiff.evaluation import sweep as bench
from fastdiff.evaluation.budget import Budget
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.evaluation.profiling.samplers import speed
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.methods import Progress
from fastdiff.methods.guidance_distillation import GuidedDistillation
from fastdiff.methods.progressive import Progressive, Stochastic
from fastdiff.networks import mlp
from fastdiff.networks.oracle import PosteriorMean
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import generate, sample
from fastdiff.training.loop import TrainConfig, Training
from tests.core.test_second_time import asked, small
from tests.methods.test_methods import MIDDLE, START, batch_of, constant, draws_of, mixture

ROOT = Path(__file__).parents[2]
kinds = pytest.mark.parametrize("kind", ["unet", "mlp"])
TIMES = pytest.mark.parametrize("times", ["one time", "a second time before", "a second time after"])


class Classes(nn.Module):
    """The exact model of a mixture whose components are classes, and of all of them together where none is named."""

    def __init__(self, schedule, oracle):
        super().__init__()
        net = oracle.net
        self.null_label = len(net.means)
        self.none = net
        self.each = nn.ModuleList(
            PosteriorMean(net.means[k : k + 1], net.stds[k : k + 1], torch.ones(1), schedule)
            for k in range(self.null_label)
        )

    def forward(self, x, t, s=None, cond=None):
        none = self.none(x, t)
        if not cond:
            return none
        given = torch.stack([*(net(x, t) for net in self.each), none])[cond["label"], torch.arange(len(x))]
        return given if "guidance" not in cond else self.told(none, given, cond["guidance"])

    def told(self, none, given, weight):
        return given


class Told(Classes):
    """The same told its guidance: exact but for a share of the guidance by which it errs."""

    def __init__(self, *args, error=0.0):
        super().__init__(*args)
        self.error = nn.Parameter(torch.tensor(error, dtype=torch.float64))

    def told(self, none, given, weight):
        return none + (1 + self.error) * like(weight, none) * (given - none)


def model_of(kind, schedule, **options):
    net = kind(schedule, mixture(schedule), **options)
    guidance = (1.0, 4.0) if kind is Told else None
    return Denoiser(net, schedule, "x0", (2,), time_input="time", guidance=guidance)


def guided_batch(oracle, n=512, seed=0, low=1.0, high=4.0):
    labels = torch.arange(n) % 3
    weights = torch.linspace(low, high, n).double()
    return batch_of(draws_of(oracle, n, seed), seed, {"label": labels, "guidance": weights})


# ---- a network is told


def given(kind, times="one time"):
    teacher = small(kind, 3)
    teacher = with_second_time(teacher) if times.endswith("before") else teacher
    student = with_guidance(teacher, (1.0, 4.0))
    return teacher, with_second_time(student) if times.endswith("after") else student


def drawn(model):
    """Every input counts: as after some training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("guidance.2.weight", "gap.2.weight", "conv_in.weight")):
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.requires_grad_(False)


def with_weight(cond, *weights):
    return cond | {"guidance": torch.tensor(weights)}


@kinds
@TIMES
@torch.no_grad()
def test_the_untouched_teacher_is_unchanged(kind, times):
    teacher, student = given(kind, times)
    x, t, s, cond = asked(teacher)
    assert student.guidance == (1.0, 4.0) and teacher.guidance is None and student.net.null_label == 3
    assert student.two_times == (times != "one time") and not student.net.training
    for wanted in (with_weight(cond, 1.0, 2.5, 4.0), cond, None):
        for one, other in zip(student(x, t, s, wanted), teacher(x, t, s, wanted), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 if kind == "unet" else 0)
    assert {p.data_ptr() for p in student.parameters()}.isdisjoint(p.data_ptr() for p in teacher.parameters())
    again = with_guidance(student, (0.0, 9.0))  # a wider range goes on from what was learned
    assert again.guidance == (0.0, 9.0) and [p.shape for p in again.parameters()] == [
        p.shape for p in student.parameters()
    ]


@kinds
@TIMES
def test_every_weight_of_it_is_learned_and_each_sample_has_its_own(kind, times):
    _, student = given(kind, times)
    student.requires_grad_(True)
    optimizer, (x, t, s, cond) = torch.optim.Adam(student.parameters(), 1e-2), asked(student)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    for _ in range(2):  # the first step lets gradients through to the rest
        student(x, t, s, with_weight(cond, 1.0, 2.0, 3.0)).x0.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all((v != before[k]).any() for k, v in student.state_dict().items() if "label" not in k)
    mixed = student(x, t, s, with_weight(cond, 1.0, 2.0, 3.0)).x0
    for row, weight in enumerate((1.0, 2.0, 3.0)):
        alone = student(x, t, s, with_weight(cond, *[weight] * 3)).x0
        torch.testing.assert_close(mixed[row], alone[row], rtol=1e-4, atol=1e-5)
        assert (mixed - alone).abs().amax(tuple(range(1, x.ndim))).gt(1e-5).sum() == 2
    torch.testing.assert_close(
        student(x, t, s, cond).x0, student(x, t, s, with_weight(cond, 1.0, 1.0, 1.0)).x0
    )


@kinds
@pytest.mark.parametrize("inside", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_in_other_precisions(kind, inside):
    student = drawn(given(kind, "a second time after")[1])
    x, t, s, cond = asked(student)
    cond, loose = with_weight(cond, 1.0, 2.0, 3.0), 0.3 if inside == torch.bfloat16 else 1e-3
    whole = student(x, t, s, cond).x0
    torch.testing.assert_close(student.to(inside)(x, t, s, cond).x0, whole, rtol=loose, atol=loose)


def test_a_network_without_labels_or_a_place_for_it_is_refused():
    with pytest.raises(FastdiffError, match="guidance needs a model with labels and a null class"):
        with_guidance(small("mlp", 0), (1.0, 4.0))
    with pytest.raises(FastdiffError, match="Classes takes no guidance weight: only fastdiff.networks"):
        with_guidance(model_of(Classes, Cosine()), (1.0, 4.0))


# ---- and asked once


@pytest.mark.parametrize("weight", [1.0, 2.5, 4.0])
def test_one_evaluation_makes_what_two_made(weight):
    schedule, cond = Cosine(), {"label": torch.arange(6) % 3}
    times = time_grid(schedule, 4)
    told, plain = (
        list(
            generate(
                model_of(kind, schedule), "ddim", times, torch.arange(6), cond=cond, guidance=weight, batch=4
            )
        )
        for kind in (Told, Classes)
    )
    for one, two in zip(told, plain, strict=True):
        torch.testing.assert_close(one.x, two.x, rtol=1e-5, atol=1e-5)
        assert one.nfe == 4 and two.nfe == (4 if weight == 1 else 8)
    x = sample(
        model_of(Told, schedule), steps=2, n=3, labels=1, guidance=weight, clip=0.5
    )  # bounds go with it
    assert x.abs().max() <= 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": 4.5}, "guidance = 4.5: this model was trained for guidance from 1 to 4$"),
        ({"guidance": 0.5}, "guidance = 0.5: this model was trained for guidance from 1 to 4$"),
        ({"guidance": 2.0, "rescale": 0.5}, "told its guidance and asked once: against, interval"),
        ({"guidance": 2.0, "every": 2}, "told its guidance and asked once"),
        ({"guidance": 2.0, "interval": (0.1, 5.0)}, "told its guidance and asked once"),
        ({"guidance": 1.0, "plus": True}, "told its guidance and asked once"),
        ({"guidance": 2.0, "labels": None}, "guidance = 2.0 needs labels"),
    ],
)
def test_what_it_was_not_trained_for_is_refused(settings, message):
    with pytest.raises(FastdiffError, match=message):
        sample(model_of(Told, Cosine()), **{"steps": 1, "n": 2, "labels": 1, **settings})


def test_a_model_told_its_guidance_needs_a_condition_to_follow_it():
    model = model_of(Told, Cosine())
    with pytest.raises(FastdiffError, match="guidance = 2.0 needs both a condition"):
        Guided(model, None, None, 2.0)
    p = Guided(model)(
        torch.zeros(2, 2).double(), torch.tensor(0.5).double(), torch.tensor(0.0).double()
    )  # no class
    assert torch.equal(p.x0, model(torch.zeros(2, 2).double(), torch.tensor(0.5).double()).x0)


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
    with pytest.raises(FastdiffError, match="weights = .*: expected a range of guidance, of which 1 is none"):
        GuidedDistillation(weights)


def test_a_teacher_that_cannot_guide_is_refused():
    with pytest.raises(FastdiffError, match="guided: the teacher takes no labels"):
        GuidedDistillation().extras(None, small("mlp", 0))
    with pytest.raises(FastdiffError, match="guided: the teacher is told its guidance already"):
        GuidedDistillation().extras(None, given("mlp")[1])


def test_progressive_of_a_guided_teacher_has_no_loss_at_its_composed_step_under_each_weight():
    schedule, steps = Cosine(), 4
    teacher = model_of(Told, schedule)

    class Composed(nn.Module):
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
    with pytest.raises(FastdiffError, match="told a weight of guidance, and the data toy have no labels"):
        batch_at(toy(n=8), 0, 4, 0, guidance=(1.0, 4.0))


# ---- files


@kinds
@TIMES
@torch.no_grad()
def test_it_is_kept_and_opened(tmp_path, kind, times):
    student = drawn(given(kind, times)[1])
    export(student, tmp_path, {})
    back, (x, t, s, cond) = load(tmp_path), asked(student)
    cond = with_weight(cond, 1.0, 2.5, 4.0)
    assert back.guidance == (1.0, 4.0) and back.two_times == student.two_times and back.net.null_label == 3
    for one, other in zip(back(x, t, s, cond), student(x, t, s, cond), strict=True):
        assert torch.equal(one, other)
    one, two = (sample(back, steps=2, n=4, labels=1, guidance=weight) for weight in (1, 3))
    assert torch.equal(two, sample(student, steps=2, n=4, labels=1, guidance=3.0)) and not torch.allclose(
        one, two
    )
    said = json.loads((tmp_path / "fastdiff.json").read_text())["guidance"]
    assert said == {"weights": [1.0, 4.0], "means": "null + weight (cond - null)"}
    # diffusers' pipelines cannot say a weight, so none is offered to them; the network itself is a plain one
    assert not (tmp_path / "model_index.json").exists() and (tmp_path / "scheduler").exists() == (
        kind == "unet"
    )
    if kind == "unet":
        assert UNet2DModel.from_pretrained(tmp_path / "unet").config.in_channels == 2 + 16 * (
            1 + student.two_times
        )


def test_older_files_know_of_none(tmp_path):
    export(small("mlp", 3), tmp_path, {})
    notes = json.loads((tmp_path / "fastdiff.json").read_text())
    assert notes.pop("guidance") is None
    (tmp_path / "fastdiff.json").write_text(json.dumps(notes))
    assert load(tmp_path).guidance is None


def test_on_another_schedule_it_is_told_the_same():
    student = drawn(given("mlp")[1])
    x, t, s, cond = asked(student)
    cond, flow = with_weight(cond, 1.0, 2.0, 3.0), student.on(Flow())
    assert flow.guidance == student.guidance
    scale = sum(Cosine().alpha_sigma(t))[:, None].float()
    tau, rho = (sigma / (alpha + sigma) for alpha, sigma in map(Cosine().alpha_sigma, (t, s)))
    torch.testing.assert_close(
        flow(x / scale, tau, rho, cond).x0, student(x, t, s, cond).x0, rtol=1e-4, atol=1e-5
    )


# ---- learning: on the toy mixture, its components in three classes


def labelled(n: int = 4000) -> Dataset:
    """The toy mixture with the classes of `Classes`."""
    oracle = mixture(Cosine())
    rng = torch.Generator().manual_seed(0)
    kind = torch.multinomial(oracle.net.log_weights.exp(), n, replacement=True, generator=rng)
    x = oracle.net.means[kind] + oracle.net.stds[kind, None] * torch.randn(n, 2, generator=rng).double()
    return Dataset("toy", x.float(), kind, 3)


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


# ---- stages of a recipe


RECIPE = {
    "name": "told",
    "data": {"name": "labelled", "n": 300},
    "model": {"net": {"name": "mlp", "width": 16, "depth": 1}, "labels": True},
    "train": {"steps": 12, "batch": 32, "save_every": 4, "log_every": 4},
    "stages": {
        "teacher": {"method": "denoising"},
        "guided": {"method": {"name": "guided", "weights": [1, 3]}, "teacher": "teacher"},
        "progressive": {"method": {"name": "progressive", "steps": [2, 1]}, "teacher": "guided"},
        "cd": {"method": "cd", "teacher": "guided"},
        "ctm": {"method": "ctm", "teacher": "guided"},
    },
    "bench": {
        "steps": [1, 2],
        "baselines": [],
        "n": 64,
        "seeds": [0],
        "guidance": [1, 2],
        "metrics": ["energy"],
    },
}
STUDENTS = ("guided", "progressive-2", "progressive-1", "cd", "ctm")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    (folder / "told.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "labelled", labelled)
        return stages.run(folder / "told.yaml", folder / "run")


def test_what_is_learned_after_it_keeps_its_guidance(run):
    assert load(run / "teacher").guidance is None
    for stage in STUDENTS:
        model = load(run / stage)
        assert model.guidance == (1.0, 3.0) and model.two_times == (stage == "ctm")
        assert model.net.guidance[-1].weight.abs().max() > 0
        one, two = (sample(model, n=8, labels=1, guidance=weight) for weight in (1.0, 3.0))
        assert not torch.allclose(one, two)


def test_the_benchmark_counts_one_evaluation_a_step(run):
    nfe = {
        (row["model"], row["steps"], row["guidance"]): row["nfe"] for row in read_rows(run / "bench.jsonl")
    }
    for weight in (1, 2):
        assert nfe["teacher", 2, weight] == 2 * weight
        assert [nfe[stage, 2, weight] for stage in ("guided", "progressive-2", "cd", "ctm")] == [2] * 4
        assert nfe["progressive-1", 1, weight] == 1


def test_a_benchmark_beyond_its_range_is_refused_before_the_work(run, tmp_path):
    config = bench.BenchConfig(guidance=(1.0, 5.0), n=64, metrics=("energy",))
    with pytest.raises(
        FastdiffError, match="guidance = 5: the model guided was trained for guidance from 1 to 3"
    ):
        next(bench.sweep({"guided": run / "guided"}, labelled(100), config, tmp_path / "out"))


def test_on_the_command_line(run, fastdiff, refused, tmp_path):
    how = ["sample", run / "progressive-2", "--labels", "1", "--n", "4", "--out", tmp_path / "x.png"]
    assert fastdiff(*how, "--guidance", "3")[0] == 0
    assert "guidance = 4: this model was trained for guidance from 1 to 3" in refused(*how, "--guidance", "4")
    code, out, _ = fastdiff("export", run / "guided", "--out", tmp_path / "copy")
    assert code == 0 and "README.md: The network is fastdiff's own, MLP, which" in out
    assert load(tmp_path / "copy").guidance == (1.0, 3.0)


def test_a_student_that_is_not_told_what_its_teacher_is_told_is_refused(run, monkeypatch):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    source = deepcopy(RECIPE) | {
        "stages": {"cd": {"method": "cd", "teacher": str(run / "guided"), "init": str(run / "teacher")}}
    }
    with pytest.raises(
        FastdiffError, match="stage cd: .*guided is told a weight of guidance, and .*teacher is not told"
    ):
        stages.run(recipe.build(source), run.parent / "other")


@pytest.mark.parametrize(
    "stage",
    [{"method": "cd", "teacher": "teacher", "init": "guided"}, {"method": "ect", "init": "guided"}],
    ids=["a teacher not told", "no teacher"],
)
def test_a_student_that_would_forget_what_it_is_told_is_refused(run, monkeypatch, tmp_path, stage):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    stage = stage | {role: str(run / stage[role]) for role in ("teacher", "init") if role in stage}
    with pytest.raises(
        FastdiffError, match="stage lost: .*guided is told a weight of guidance, .* not told the same"
    ):
        stages.run(recipe.build(deepcopy(RECIPE) | {"stages": {"lost": stage}}), tmp_path / "lost")


def test_weights_that_the_benchmark_lacks_are_told_before_training(run, monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    stage = {"method": {"name": "guided", "weights": [2, 3]}, "teacher": str(run / "teacher")}
    source = deepcopy(RECIPE) | {"stages": {"late": stage}, "bench": {"guidance": 1}}
    with pytest.raises(
        FastdiffError, match="guidance = 1: the model late was trained for guidance from 2 to 3"
    ):
        stages.run(recipe.build(source), tmp_path / "late")
    assert not (tmp_path / "late" / "late" / "log.jsonl").exists()


def test_the_guidance_that_a_model_is_drawn_with(run):
    model = load(run / "guided")
    assert usual_guidance(model) == 1 and usual_guidance(load(run / "teacher")) == 1
    model.guidance = (2.0, 3.0)
    assert usual_guidance(model) == 2
    [row] = speed(model, ["ddim"], steps=2, repeats=1)
    assert row["nfe"] == 2


def test_a_budget_counts_a_model_s_own_evaluations(tmp_path):
    budget, cell = Budget(60, tmp_path), partial(bench.Cell, sampler="ddim", spacing="uniform", guidance=4.0)
    for model, nfe in (("teacher", 16), ("guided", 8)):
        budget.allows(model, 0, Accelerator(cpu=True))
        budget.spent(cell(model, steps=8), {"ms_per_image": nfe, "nfe": nfe}, 1000)
    budget.judging = 0
    assert budget.needed(cell("teacher", steps=8)) == pytest.approx(16)
    assert budget.needed(cell("guided", steps=8)) == pytest.approx(8)


def test_the_recipe_of_the_stochastic_variant():
    made = recipe.load(ROOT / "recipes/methods/stochastic.yaml")
    assert [stage.name for stage in made.stages] == [
        f"stochastic-{k}" for k in (16, 8, 4, 2)
    ] and made.model.labels


def test_its_recipe():
    made = recipe.load(ROOT / "recipes/methods/guided.yaml")
    assert [stage.name for stage in made.stages] == [
        "guided",
        *(f"progressive-{k}" for k in (16, 8, 4, 2, 1)),
    ]
    assert (
        made.model.labels
        and made.stages[0].method.weights == (1.0, 4.0)
        and made.bench.guidance == (1.0, 2.0, 4.0)
    )
