"""The loop: rates, accumulation, roles, averages, and how it stops when a loss goes bad."""

import json
import math
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from fastdiff.core import ema
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset, order
from fastdiff.data.toys import toy
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import Importance, Method
from fastdiff.methods.denoising import Denoising
from fastdiff.methods.diagnostics import by_level
from fastdiff.networks import MLP, unet
from fastdiff.training.checkpoint import load_state
from fastdiff.training.config import Own
from fastdiff.training.loop import TrainConfig, Training

pytestmark = pytest.mark.usefixtures("one_thread")
DATA = toy(n=300)


def tiny(seed=0):
    torch.manual_seed(seed)
    return Denoiser(MLP(2, 16, 1), Flow(), "velocity", (2,))


def training(folder, method=None, student=None, data=DATA, **settings):
    config = TrainConfig(**{"steps": 20, "batch": 32, "save_every": 5, "log_every": 5} | settings)
    return Training(
        method or Denoising(), Progress, student or tiny(), None, data, config, folder, Accelerator(cpu=True)
    )


def weights_of(run):
    """By role, all that is trained."""
    return {name: role.weights for name, role in run.roles.items()}


def finish(run):
    return [logs for _, logs in run]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# ---- the learning rate


@pytest.mark.parametrize(
    ("decay", "law"),
    [
        ("constant", lambda u: 1.0),
        ("linear", lambda u: 1 - u),
        ("cosine", lambda u: math.cos(math.pi * u / 2) ** 2),
    ],
)
def test_the_rate_warms_up_and_falls(decay, law):
    config = TrainConfig(steps=100, lr=0.2, warmup=9, decay=decay)
    rates = [config.rate(step) for step in range(101)]
    assert rates[:9] == pytest.approx([0.2 * (k + 1) / 10 * law(k / 100) for k in range(9)])
    assert rates[9:] == pytest.approx([0.2 * law(k / 100) for k in range(9, 101)])
    assert rates[100] == pytest.approx(0.2 if decay == "constant" else 0.0)  # one step after the last
    assert TrainConfig(lr=0.2).rate(0) == 0.2


def test_the_optimizer_takes_the_rate_of_its_step(tmp_path):
    """One SGD-like measure: Adam's first update moves every weight by the rate."""
    student = tiny()
    before = weights(student)
    run = training(tmp_path, student=student, lr=0.01, warmup=3, steps=4, log_every=1, clip=1e9)
    iterator = iter(run)
    next(iterator)
    moved = (weights(student) - before).abs()
    assert moved.max() == pytest.approx(0.01 / 4, rel=1e-3)
    list(iterator)
    assert [line["lr"] for line in log_of(tmp_path)] == [0.01 / 4, 0.01 / 2, 0.03 / 4, 0.01]


# ---- one batch in parts


def test_two_halves_are_one_batch(tmp_path):
    runs = [training(tmp_path / str(k), accumulate=k, steps=10) for k in (1, 2)]
    for run in runs:
        finish(run)
    whole, halves = (weights(run.student) for run in runs)
    assert (whole - halves).abs().max() < 1e-6 < (whole - weights(tiny())).abs().max()
    assert runs[0].images == runs[1].images == 320
    for a, b in zip(*(log_of(tmp_path / str(k)) for k in (1, 2)), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(FastdiffError, match=r"train\.batch = 32 .* accumulate 3"):
        training(tmp_path, accumulate=3)


# ---- roles


@dataclass
class Duel(Method):
    """Student and critic in turns, each loss through both networks."""

    both: bool = False

    def extras(self, student, teacher):
        torch.manual_seed(1)
        return {"critic": nn.Linear(2, 1)}

    def averages(self):
        return {"slow": lambda progress: 0.5}

    def turns(self, progress):
        return (("student", "critic"),) if self.both else (("student",), ("critic",))

    def loss(self, turn, nets, batch, progress):
        t = batch.rng.uniform()
        value = (
            nets["critic"](nets["student"](batch.x0, t, t).x0).mean() - nets["slow"](batch.x0, t, t).x0.mean()
        )
        self.__dict__.setdefault("seen", []).append((turn, nets))
        return (value - 1).square(), {"value": value}


def test_only_the_roles_of_a_turn_receive_gradients(tmp_path, monkeypatch):
    method, reached = Duel(), []
    run = training(tmp_path, method, steps=2, log_every=1)
    learn, clip = run.learn, nn.utils.clip_grad_norm_

    def spy(parameters, norm):
        reached.append({r: sum(p.grad is not None for p in own) for r, own in weights_of(run).items()})
        return clip(parameters, norm)

    def watched(turn, progress):
        before = {r: torch.cat([p.detach().flatten() for p in own]) for r, own in weights_of(run).items()}
        logs = learn(turn, progress)
        for role, own in weights_of(run).items():
            assert torch.equal(before[role], torch.cat([p.detach().flatten() for p in own])) == (
                role not in turn
            )
        return logs

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spy)
    monkeypatch.setattr(run, "learn", watched)
    slow = weights(run.targets["slow"])
    finish(run)
    count = {role: len(own) for role, own in weights_of(run).items()}
    assert reached == [{"student": count["student"], "critic": 0}, {"student": 0, "critic": 2}] * 2
    assert [turn for turn, _ in method.seen] == [("student",), ("critic",)] * 2
    assert all(p.requires_grad for own in weights_of(run).values() for p in own)
    assert all(p.grad is None for net in (run.average, run.targets["slow"]) for p in net.parameters())
    assert not torch.equal(slow, weights(run.targets["slow"]))  # the target average followed
    logged = ("loss", "value", "grad")
    assert set(log_of(tmp_path)[0]) == {
        "step",
        "images",
        "lr",
        "drift",
        *logged,
        *(f"critic/{name}" for name in logged),
    }


def test_roles_of_one_turn_learn_together(tmp_path):
    run = training(tmp_path, Duel(both=True), steps=1, log_every=1)
    before = {r: torch.cat([p.detach().flatten() for p in own]) for r, own in weights_of(run).items()}
    finish(run)
    for role, own in weights_of(run).items():
        assert not torch.equal(before[role], torch.cat([p.detach().flatten() for p in own]))
    assert {"loss", "student/grad", "critic/grad"} <= set(log_of(tmp_path)[0])


def test_a_role_learns_by_its_own_settings_and_the_common_schedule(tmp_path):
    """Adam's first update moves every weight by the rate, whatever the gradient; what is left out is the training's."""
    own = {"critic": Own(lr=0.03, betas=(0.0, 0.99), optimizer="adamw", clip=1e-3)}
    run = training(tmp_path, Duel(), steps=8, lr=0.01, warmup=1, decay="linear", clip=0.5, roles=own)
    before = {role: torch.cat([p.detach().flatten() for p in of]) for role, of in weights_of(run).items()}
    run.advance()
    for role, rate in (("student", 0.01 / 2), ("critic", 0.03 / 2)):
        moved = torch.cat([p.detach().flatten() for p in weights_of(run)[role]]) - before[role]
        assert moved.abs().max() == pytest.approx(rate, rel=0.02), role
    run.advance()
    student, critic = (run.roles[role] for role in ("student", "critic"))
    rates = [role.optimizer.param_groups[0]["lr"] for role in (student, critic)]
    assert rates == pytest.approx([0.01 * 7 / 8, 0.03 * 7 / 8])
    assert (type(student.optimizer), student.config.betas, student.config.clip) == (
        torch.optim.Adam,
        (0.9, 0.999),
        0.5,
    )
    assert (type(critic.optimizer), critic.config.betas, critic.config.clip) == (
        torch.optim.AdamW,
        (0.0, 0.99),
        1e-3,
    )
    for p in critic.weights:
        p.grad = torch.ones_like(p)
    assert critic.clipped() == pytest.approx(3**0.5)
    assert torch.cat([p.grad.flatten() for p in critic.weights]).norm() == pytest.approx(1e-3, rel=1e-2)


def test_settings_of_a_role_that_the_method_has_not_are_refused(tmp_path):
    with pytest.raises(
        FastdiffError, match="^train.roles.critik: the method trains no such role, did you mean critic.$"
    ):
        training(tmp_path / "a", Duel(), roles={"critik": Own(lr=1.0)})
    with pytest.raises(
        FastdiffError, match="^train.roles.fake: the method trains no such role, choose from student$"
    ):
        training(tmp_path / "b", Denoising(), roles={"fake": Own(lr=1.0)})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "method", [Duel, lambda: Denoising(Importance(bins=4))], ids=["two roles", "a memory"]
)
def test_all_that_changes_is_saved_and_restored(tmp_path, method):
    whole, broken = (training(tmp_path / name, method(), log_every=3) for name in "ab")
    finish(whole)
    for step, _ in broken:
        if step == 13:  # three steps after the last state, one after a line
            break
    resumed = training(tmp_path / "b", method(), student=tiny(9), log_every=3)
    assert (resumed.step, resumed.images) == (10, broken.images * 10 // 13)
    finish(resumed)
    assert set(whole.tensors()) == set(resumed.tensors()) > {"ema.net.first.weight"}
    assert all(torch.equal(v, resumed.tensors()[k]) for k, v in whole.tensors().items())
    assert (tmp_path / "a/log.jsonl").read_text() == (tmp_path / "b/log.jsonl").read_text()


@dataclass
class Seldom(Duel):
    """A duel in which the student learns in every third step only."""

    def turns(self, progress):
        return (("critic",), ("student",)) if (progress.step + 1) % 3 == 0 else (("critic",),)

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return loss, logs | ({"odd": 0 * loss.detach() + math.nan if progress.step < 7 else loss.detach()})


@pytest.mark.parametrize("saved", [4, 5, 7])
def test_a_line_has_the_newest_of_every_figure_though_a_state_was_saved_within_a_cycle(tmp_path, saved):
    settings = {"steps": 13, "log_every": 2, "save_every": saved, "ema": 0.5}
    whole = training(tmp_path / "a", Seldom(), **settings)
    seen = {step: {name: float(value) for name, value in whole.figures.items()} for step, _ in whole}
    assert "loss" not in seen[2] and seen[3]["loss"] == seen[4]["loss"] == seen[5]["loss"] != seen[6]["loss"]
    lines = log_of(tmp_path / "a")
    assert "loss" not in lines[0] and "critic/loss" in lines[0]
    for line in lines[1:]:
        own = {name: value for name, value in seen[line["step"]].items() if math.isfinite(value)}
        assert {"loss", "value", "critic/loss"} <= set(own) and own.items() <= line.items()
        assert (line["odd"] is None) == (line["step"] < 9)
    for step, _ in training(tmp_path / "b", Seldom(), **settings):
        if step == saved + 1:
            break
    resumed = training(tmp_path / "b", Seldom(), student=tiny(9), **settings)
    assert resumed.step == saved
    finish(resumed)
    assert (tmp_path / "a/log.jsonl").read_text() == (tmp_path / "b/log.jsonl").read_text()
    assert all(torch.equal(v, resumed.tensors()[k]) for k, v in whole.tensors().items())


# ---- the exported average


def test_the_average_follows_the_student_by_the_ramp(tmp_path):
    run = training(tmp_path, ema=0.6, steps=12)
    average = weights(run.average)
    for step, _ in run:
        decay = min(0.6, step / (9 + step))  # (1 + n) / (10 + n) after n = step - 1 updates
        assert decay == ema.decay_at(0.6, step - 1)
        average = decay * average + (1 - decay) * weights(run.student)
        torch.testing.assert_close(weights(run.average), average, rtol=1e-5, atol=1e-7)
    assert not run.average.training and run.student.training


def test_without_an_average_the_weights_themselves_are_exported(tmp_path):
    run = training(tmp_path, ema=0.0)
    finish(run)
    assert torch.equal(weights(run.average), weights(run.student))


# ---- health


@dataclass
class Followed(Denoising):
    """Denoising with running averages that nothing asks."""

    roles: tuple[str, ...] = ("slow", "slower")

    def averages(self):
        return dict(zip(self.roles, (lambda progress: 0.9, lambda progress: 0.98)))


def test_the_drift_of_a_target_is_how_far_its_weights_are_behind(tmp_path):
    run = training(tmp_path / "two", Followed(), lr=0.01)
    for step, logs in run:
        if step % 5 == 0:
            for role, target in run.targets.items():
                apart = (weights(run.student) - weights(target)).norm() / weights(run.student).norm()
                assert logs[f"{role}/drift"] == pytest.approx(float(apart), rel=1e-5) and apart > 1e-3
    assert logs["slow/drift"] < logs["slower/drift"]
    finish(training(tmp_path / "one", Followed(roles=("slow",)), lr=0.01))
    finish(training(tmp_path / "none"))
    last = log_of(tmp_path / "one")[-1]
    assert last["drift"] == logs["slow/drift"] and "slow/drift" not in last
    assert not any("drift" in line for line in log_of(tmp_path / "none"))


# ---- a loss that goes bad


@dataclass
class Spoilt(Denoising):
    """Denoising whose step number `at` (counted from 1) goes wrong in one way."""

    at: int = 0
    how: str = "loss"

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        if progress.step + 1 != self.at or (self.how == "first part" and progress.images % 32):
            return loss, logs
        if self.how == "gradient":  # a root at zero: finite, with an infinite slope
            return loss + (0 * sum(p.sum() for p in nets["student"].parameters())).square().sqrt(), logs
        return loss * float("nan"), logs


@pytest.mark.parametrize(
    ("how", "at", "settings", "named"),
    [
        ("loss", 13, {}, "loss, grad"),
        ("loss", 10, {}, "loss, grad"),
        ("gradient", 10, {}, "grad"),
        ("first part", 10, {"accumulate": 2}, "loss, grad"),
    ],
)
def test_a_bad_loss_stops_at_its_step_and_leaves_the_last_good_state(tmp_path, how, at, settings, named):
    good = training(tmp_path / "good", **settings)
    finish(good)
    with pytest.raises(FastdiffError, match=f"^{named}: not finite at step {at}:.*last good"):
        finish(training(tmp_path / "bad", Spoilt(at=at, how=how), **settings))
    tensors, record = load_state(tmp_path / "bad/state")
    assert record["step"] == (10 if at == 13 else 5)
    assert all(torch.isfinite(v).all() for v in tensors.values())
    assert [line["step"] for line in log_of(tmp_path / "bad")] == list(range(5, record["step"] + 1, 5))
    resumed = training(tmp_path / "bad", student=tiny(9), **settings)
    finish(resumed)
    assert torch.equal(weights(resumed.average), weights(good.average))
    assert (tmp_path / "bad/log.jsonl").read_text() == (tmp_path / "good/log.jsonl").read_text()


@dataclass
class Sick(Duel):
    """A duel whose critic's figures go wrong: at step 3 one that is only logged, at step 7 its gradient."""

    mended: bool = False

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        nan, step = torch.tensor(float("nan")), progress.step + 1
        if turn == ("critic",):
            tangent = by_level(
                "tangent",
                torch.where(torch.arange(3) == 1, nan if step == 3 else 0.5, 1.0),
                torch.tensor([0.1, 0.5, 0.9]),
            )
            logs = logs | tangent | ({} if step % 2 else {"often": loss.detach()})
            if step == 7 and not self.mended:
                loss = loss + (0 * sum(p.sum() for p in nets["critic"].parameters())).square().sqrt()
        return loss, logs


def test_the_complaint_names_the_turn_and_what_was_bad_before(tmp_path):
    """A figure that is only logged stops nothing, but it is told; and by its level of noise."""
    with pytest.raises(FastdiffError) as caught:
        finish(training(tmp_path / "sick", Sick()))
    assert str(caught.value).startswith(
        "critic/tangent, critic/tangent_mid, critic/grad: not finite at step 7: "
    )
    assert "\n" not in str(caught.value) and load_state(tmp_path / "sick/state")[1]["step"] == 5
    finish(training(tmp_path / "mended", Sick(mended=True)))
    lines = log_of(tmp_path / "mended")
    assert len(lines) == 4 and all("critic/often" in line for line in lines)


@dataclass
class Ill(Denoising):
    """Denoising whose loss is not finite at some steps (counted from 1)."""

    at: tuple[int, ...] = ()

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return (loss * float("nan") if progress.step + 1 in self.at else loss), logs


def test_bad_steps_are_skipped_and_counted(tmp_path):
    run = training(tmp_path, Ill(at=(4, 5, 9)), max_skips=2, log_every=1, steps=10)
    before = {}
    for step, _ in run:
        before[step] = weights(run.student).clone(), weights(run.average).clone()
    for step in range(2, 11):
        still = all(map(torch.equal, before[step], before[step - 1]))
        assert still == (step in (4, 5, 9)), step
    lines = log_of(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]
    assert [line["step"] for line in lines if line["loss"] is None] == [4, 5, 9] and run.images == 320
    _, record = load_state(tmp_path / "state")
    assert record["skipped"] == 3 and record["row"] == 0


def test_too_many_in_a_row_stop_with_the_indices_of_the_batch(tmp_path):
    settings = {"max_skips": 2, "steps": 20, "save_every": 5, "batch": 32}
    with pytest.raises(FastdiffError) as caught:
        finish(training(tmp_path, Ill(at=(3, 6, 7, 8)), **settings))
    record = json.loads((tmp_path / "bad-batch.json").read_text())
    assert record["step"] == 8 and record["positions"] == [7 * 32, 8 * 32]
    assert record["examples"] == order(300, 0, 7 * 32, 32).tolist()
    first = ", ".join(map(str, record["examples"][:8]))
    assert str(caught.value).startswith(
        "grad, loss: not finite at step 8, the 3. step in a row (train.max_skips = 2): "
    )
    assert f"its batch was examples {first}, ..." in str(caught.value)
    tensors, state = load_state(tmp_path / "state")
    assert state["step"] == 5 and all(torch.isfinite(v).all() for v in tensors.values())


def test_skips_in_a_row_are_remembered_over_a_break(tmp_path):
    with pytest.raises(FastdiffError, match="not finite at step 6, the 2"):
        finish(training(tmp_path, Ill(at=(5, 6)), max_skips=1, save_every=5))
    assert load_state(tmp_path / "state")[1]["row"] == 1
    with pytest.raises(FastdiffError, match="not finite at step 6, the 2"):
        finish(training(tmp_path, Ill(at=(5, 6)), max_skips=1, save_every=5))


# ---- collapse


@dataclass
class Fading(Denoising):
    """Denoising whose samples are said to cover less and less of the data."""

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return loss, logs | {"coverage": torch.tensor(1 - 0.75 * progress.fraction)}


def test_a_collapse_is_the_median_coverage_of_the_latest_lines_of_the_second_half(tmp_path):
    settings = {"steps": 40, "log_every": 1, "save_every": 33}
    seen = {
        step: run.health.collapsed
        for run in [training(tmp_path / "a", Fading(), **settings)]
        for step, _ in run
    }
    for step, found in seen.items():
        shares = sorted(1 - 0.75 * (k - 1) / 40 for k in range(max(21, step - 9), step + 1))
        wanted = (shares[len(shares) // 2] + shares[(len(shares) - 1) // 2]) / 2 if shares else 1.0
        assert found == (pytest.approx(wanted) if wanted < 0.5 else None), step
    assert seen[20] is None and 0.25 < seen[40] < 0.5
    for step, _ in training(tmp_path / "b", Fading(), **settings):
        if step == 36:
            break
    resumed = training(tmp_path / "b", Fading(), **settings)
    assert resumed.step == 33 and resumed.health.collapsed == seen[33]
    finish(resumed)
    assert (
        resumed.health.collapsed
        == seen[40]
        == training(tmp_path / "a", Fading(), **settings).health.collapsed
    )


# ---- arithmetic


@pytest.fixture
def precise():
    """Makes an accelerator of a precision; each process has one precision, which is taken back."""

    def make(precision):
        AcceleratorState._reset_state(True)
        return Accelerator(cpu=True, mixed_precision=precision)

    yield make
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("name", ["scd", "meanflow"])
def test_derivatives_stay_in_float32_where_the_network_is_in_bf16(tmp_path, precise, monkeypatch, name):
    seen = []
    waves = MLP.waves
    monkeypatch.setattr(
        MLP, "waves", lambda self, t: seen.append(self.last(torch.zeros(1, 16)).dtype) or waves(self, t)
    )
    method = METHODS[name]()
    config = TrainConfig(steps=3, batch=32, save_every=3, log_every=3)
    run = Training(method, Progress, method.student(tiny()), tiny(1), DATA, config, tmp_path, precise("bf16"))
    finish(run)
    assert {torch.float32, torch.bfloat16} == set(seen) and all(
        line["loss"] is not None for line in log_of(tmp_path)
    )


def scaled(folder, method, **settings):
    """A training with a scaler, as fp16 has one."""
    run = training(folder, method, **settings)
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    return run


def test_a_scaler_serves_two_roles_of_a_turn(tmp_path):
    unscaled = training(tmp_path / "plain", Duel(both=True), steps=6)
    finish(unscaled)
    run = scaled(tmp_path / "scaled", Duel(both=True), steps=6)
    try:
        finish(run)
    finally:
        run.accelerator.scaler = None
    assert (weights(run.student) - weights(unscaled.student)).abs().max() < 1e-5


def test_what_a_scaler_skips_moves_nothing_and_without_end_stops(tmp_path):
    run = scaled(tmp_path / "two", Ill(at=(3, 4)), max_skips=3, log_every=1, steps=6)
    before = {}
    try:
        for step, _ in run:
            before[step] = weights(run.student).clone(), weights(run.average).clone()
    finally:
        run.accelerator.scaler = None
    still = [all(map(torch.equal, before[step], before[step - 1])) for step in range(2, 7)]
    assert still == [False, True, True, False, False]
    run = scaled(tmp_path / "none", Ill(at=(3,)), steps=6)
    try:
        with pytest.raises(FastdiffError, match="loss: not finite at step 3"):  # where none may be skipped
            finish(run)
    finally:
        run.accelerator.scaler = None
    run = scaled(tmp_path / "ever", Spoilt(how="gradient", at=0), steps=200)
    run.method.loss = lambda turn, nets, batch, progress, loss=Denoising.loss: (
        loss(run.method, turn, nets, batch, progress)[0]
        + (0 * sum(p.sum() for p in nets["student"].parameters())).square().sqrt(),
        {},
    )
    try:
        with pytest.raises(FastdiffError, match="grad: not finite at step 45, as in the 40 before.*bf16"):
            finish(run)
    finally:
        run.accelerator.scaler = None


def test_a_bad_loss_is_not_remembered_by_importance():
    memory = Importance(bins=2).memory()
    memory.record(torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([0.1, 0.2, 0.9]))
    assert memory.moment.tolist() == [1.0, 4.0] and memory.count.tolist() == [1, 1]


# ---- memory


def test_activations_computed_again_give_the_same_weights_and_are_not_kept(tmp_path):
    """A network of convolutions; the tensors that autograd keeps are counted."""
    data, results, kept = Dataset("noise", torch.randint(0, 256, (64, 1, 8, 8)).to(torch.uint8)), [], []
    for again in (False, True):
        torch.manual_seed(0)
        net = unet((1, 8, 8), channels=(16, 16), layers=2)
        nn.init.normal_(net.module.conv_out.weight, std=0.05)
        run = training(
            tmp_path / str(again),
            student=Denoiser(net, Flow(), "velocity", (1, 8, 8)),
            data=data,
            steps=3,
            gradient_checkpointing=again,
        )
        count = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, count=count: count.append(x.numel()) or x, lambda x: x
        ):
            finish(run)
        results.append(weights(run.average))
        kept.append(sum(count))
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    assert kept[1] < 0.5 * kept[0]
    with pytest.raises(FastdiffError, match="gradient_checkpointing: MLP knows none"):
        training(tmp_path / "mlp", gradient_checkpointing=True)


@dataclass
class Copied(Duel):
    """A duel in which the critic is a copy of the teacher, whose answers the student follows."""

    def extras(self, student, teacher):
        return {"critic": deepcopy(teacher).requires_grad_(True)}

    def loss(self, turn, nets, batch, progress):
        t = batch.rng.uniform()
        said, critic, aim = (nets[role](batch.x0, t, t).x0 for role in ("student", "critic", "teacher"))
        return (said - aim + critic).square().mean(), {}


@pytest.mark.parametrize("offload", [False, True])
def test_a_teacher_kept_in_bfloat16_takes_half_the_memory_and_teaches_the_same(tmp_path, offload):
    def made(name, **settings):
        teacher = tiny(1)
        nn.init.normal_(teacher.net.last.weight, std=0.3)
        config = TrainConfig(steps=20, batch=32, log_every=5, **settings)
        return Training(
            Copied(), Progress, tiny(), teacher, DATA, config, tmp_path / name, Accelerator(cpu=True)
        )

    whole, half = made("whole"), made("half", teacher="bfloat16", offload=offload)
    size = [sum(p.nbytes for p in run.frozen["teacher"].parameters()) for run in (whole, half)]
    assert size[0] == 2 * size[1]
    for net in (half.student, half.average, half.targets["slow"], half.trained["critic"]):
        assert {p.dtype for p in net.parameters()} == {torch.float32}
    finish(whole), finish(half)
    one, two = (log_of(tmp_path / name) for name in ("whole", "half"))
    assert one != two
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.03)


def test_the_pace_is_told_beside_the_log(tmp_path):
    run = training(tmp_path, steps=20, log_every=5)
    finish(run)
    lines = [json.loads(line) for line in (tmp_path / "pace.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20] and all(
        line["images_per_s"] > 0 for line in lines
    )
    assert (
        all(0 <= line["wait"] <= 1 and line["memory_mb"] > 10 for line in lines)
        and run.pace.items() <= lines[-1].items()
    )


def test_a_log_cut_by_a_kill_goes_on_from_the_state(tmp_path):
    finish(training(tmp_path, steps=20))
    whole = (tmp_path / "log.jsonl").read_text()
    for damage in (whole[:-9], whole + '{"step": 25, "ima', whole.splitlines()[0] + "\n"):
        (tmp_path / "log.jsonl").write_text(damage)
        run = training(tmp_path, steps=20)
        assert run.step == 20 and finish(run) == []
        assert [line["step"] for line in log_of(tmp_path)] == list(range(5, 5 * damage.count("\n") + 1, 5))
