"""Distillation of guided DDIM steps: the published formula, closed forms,
students sampled as they were trained."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, Cosine
from fastdiff.io.load import load, read_metadata
from fastdiff.methods.base import Huber
from fastdiff.methods.lcm import LCM, PCM, TCD
from fastdiff.networks import mlp
from fastdiff.networks.text_unet import TextUNet
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import sample
from tests.helpers.oracles import MIDDLE, batch_of, mixture, told
from tests.helpers.paths import ROOT

SD = DDPM(kind="scaled_linear", beta_start=0.00085, beta_end=0.012)


KIN = {"lcm": LCM, "tcd": TCD, "pcm": PCM}


class Words:
    """In the place of a text encoder: the empty prompt."""

    def __deepcopy__(self, memo):
        return self

    def null(self, n):
        return {"text": torch.full((n, 3, 8), 0.25)}


def text_model(predicts="eps"):
    torch.manual_seed(0)
    module = UNet2DConditionModel(
        8,
        4,
        4,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=8,
    )
    return Denoiser(TextUNet(module), SD, predicts, (4, 8, 8), text=Words())


# ---- the published formula


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_an_update_of_lcm_is_that_of_the_published_formula(predicts):
    """With diffusers' own table, and its training's scalings, solver,
    embedding of w - 1 and Huber loss written out."""
    method, teacher = LCM(), text_model(predicts)
    student, target = (method.student(text_model(predicts)) for _ in range(2))
    for net, seed in ((student, 1), (target, 2)):
        torch.manual_seed(seed)
        for p in net.parameters():
            p.data.add_(torch.randn_like(p), alpha=0.02)
    torch.manual_seed(3)
    cond = {"text": torch.randn(64, 3, 8), "guidance": 3 + 12 * torch.rand(64)}
    x0 = torch.randn(64, 4, 8, 8)
    nets = {"student": student, "teacher": teacher, "target": target}
    loss, _ = method.loss(("student",), nets, batch_of(x0, cond=cond), MIDDLE)
    loss.backward()
    found = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()

    rng = batch_of(x0).rng
    index = rng.integers(1, 51) - 1
    noise = rng.normal((4, 8, 8)).float()
    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    steps = torch.from_numpy(np.arange(1, 51) * 20 - 1)
    start, end = steps[index], (steps[index] - 20).clamp(min=0)
    levels = scheduler.alphas_cumprod
    before = torch.cat([levels[:1], levels[steps[:-1]]])[index]  # of the point below

    def pair(output, x, at):
        alpha, sigma = (level.sqrt()[:, None, None, None] for level in (levels[at], 1 - levels[at]))
        if predicts == "eps":
            return (x - sigma * output) / alpha, output
        return alpha * x - sigma * output, alpha * output + sigma * x

    def consistency(net, x, at):
        time = 10.0 * at
        skip, out = 0.25 / (time**2 + 0.25), time / (time**2 + 0.25) ** 0.5
        embedding = diffusers.models.embeddings.get_timestep_embedding(1000 * (cond["guidance"] - 1), 256)
        output = net.net.module(x, at, cond["text"], timestep_cond=embedding).sample
        return skip[:, None, None, None] * x + out[:, None, None, None] * pair(output, x, at)[0]

    noisy = scheduler.add_noise(x0, noise, start)
    prediction = consistency(student, noisy, start)
    with torch.no_grad():
        own = pair(teacher.net.module(noisy, start, cond["text"]).sample, noisy, start)
        apart = pair(teacher.net.module(noisy, start, torch.full((64, 3, 8), 0.25)).sample, noisy, start)
        w = (cond["guidance"] - 1)[:, None, None, None]  # their weight is ours less 1
        clean, eps = (a + w * (a - b) for a, b in zip(own, apart))
        previous = before.sqrt()[:, None, None, None] * clean + (1 - before).sqrt()[:, None, None, None] * eps
        goal = consistency(target, previous, end)
    wanted = (((prediction - goal) ** 2 + 0.001**2).sqrt() - 0.001).mean()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5) and loss > 0.01
    for own, p in zip(found, student.parameters()):
        torch.testing.assert_close(own, p.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("kind", ["LCMScheduler", "TCDScheduler"])
def test_the_grid_of_fewer_steps_is_that_of_the_scheduler(kind):
    scheduler = getattr(diffusers, kind)()
    for steps in range(1, 51):
        scheduler.set_timesteps(steps)
        assert (time_grid(DDPM(), steps, "lcm")[:-1] - 1).tolist() == scheduler.timesteps.tolist(), steps
    scheduler = getattr(diffusers, kind)(original_inference_steps=20)
    scheduler.set_timesteps(7)
    assert (time_grid(DDPM(), 7, "lcm[points=20]")[:-1] - 1).tolist() == scheduler.timesteps.tolist()
    with pytest.raises(FastdiffError, match="51 steps are too many for spacing 'lcm'"):
        time_grid(DDPM(), 51, "lcm")
    with pytest.raises(FastdiffError, match="spacing lcm: points = 0"):
        time_grid(DDPM(), 1, "lcm[points=0]")


def test_huber_is_of_each_number_by_itself():
    a, b = torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2)
    assert float(Huber(4.0)(a, b)) == pytest.approx((5 - 4 + 0) / 2)
    assert Huber()(a.half(), b.half()).dtype == torch.float32
    with pytest.raises(FastdiffError, match="c = 0"):
        Huber(0.0)


def test_a_pcm_student_is_sampled_from_edge_to_edge():
    student, method = (
        told(lambda x, t, s: torch.zeros_like(x), Cosine(), "v"),
        PCM(points=10, phases=4, weights=(1.0, 1.0)),
    )
    nets = {"student": student, "teacher": mixture(Cosine()), "target": student}
    method.loss(("student",), nets, batch_of(torch.randn(512, 2).double()), MIDDLE)
    trained = {round(10 * u) for u in student.net.asked[0][2].tolist()}
    student.net.asked.clear()
    student.sampling = method.sampling()
    sample(student, n=2)
    assert [round(10 * float(t[0])) for _, t, _, _ in student.net.asked] == [10, 8, 5, 3] and trained == {
        8,
        5,
        3,
        0,
    }
    with pytest.raises(FastdiffError, match="trained for ddim at 4 steps"):
        sample(student, n=2, steps=2)


# ---- students


def test_the_student_is_the_teachers_network_until_it_is_trained():
    model = text_model("v")
    student = LCM().student(model)
    assert (model.predicts, student.predicts, student.sigma_data, student.guidance) == (
        "v",
        "lcm_v",
        0.5,
        (3.0, 15.0),
    )
    assert student.net.module.config.time_cond_proj_dim == 256 and student.text is model.text
    x, t, cond = torch.randn(2, 4, 8, 8), torch.tensor(700.0).double(), {"text": torch.randn(2, 3, 8)}
    model.eval(), student.eval()
    with torch.no_grad():
        torch.testing.assert_close(student(x, t, t, cond).x0, model(x, t, t, cond).x0, atol=1e-4, rtol=0)
        one = torch.tensor(1.0).double()
        assert torch.allclose(
            student(x, one, one, cond).x0, x, atol=1e-6
        )  # LCM's function, the identity there
    for method in (TCD(), PCM(weights=(3.0, 5.0))):
        assert method.student(model).predicts == "v" and method.student(model).guidance
    fixed = LCM(weights=(7.5, 7.5)).student(model)
    assert (
        fixed.guidance is None
        and fixed.net is model.net
        and fixed._solved is not model._solved
        and model.predicts == "v"
    )
    told = LCM(weights=(2.0, 4.0)).student(student)
    assert told.guidance == (3.0, 15.0) and told.predicts == "lcm_v"  # a range that it knows already stays


def test_what_cannot_be_distilled_is_refused_in_a_line():
    plain = Denoiser(mlp((2,), width=8, depth=1), Cosine(), "v", (2,))
    for method, message in ((LCM(), "this model has neither"), (TCD(), "labels and a null class")):
        with pytest.raises(FastdiffError, match=message):
            method.student(plain)
    with pytest.raises(FastdiffError, match="lcm needs a model that predicts eps, v, velocity or edm"):
        LCM().student(Denoiser(plain.net, Cosine(), "x0", (2,)))
    with pytest.raises(FastdiffError, match=r"set weights to \[1, 1\] for no guidance"):
        PCM().trainable_networks(plain, plain)
    with pytest.raises(
        FastdiffError, match="points = 30: expected a divisor of the schedule's 1000 timesteps"
    ):
        LCM(points=30).trainable_networks(plain, plain)
    for wrong in ({"points": 0}, {"mu": 1.0}, {"weights": (5.0, 3.0)}, {"weights": (-1.0, 3.0)}):
        with pytest.raises(FastdiffError, match=next(iter(wrong))):
            LCM(**wrong)
    for phases in (0, 51):
        with pytest.raises(FastdiffError, match=f"phases = {phases}: expected 1 to points = 50"):
            PCM(phases=phases)


def test_a_teacher_that_is_told_its_weight_is_asked_once():
    teacher, calls = LCM().student(text_model()), []
    teacher.net.register_forward_hook(lambda *_: calls.append(1))
    student = LCM().student(text_model())
    cond = {"text": torch.randn(4, 3, 8), "guidance": torch.full((4,), 4.0)}
    nets = {"student": student, "teacher": teacher, "target": student}
    LCM().loss(("student",), nets, batch_of(torch.randn(4, 4, 8, 8), cond=cond), MIDDLE)
    assert len(calls) == 1
    assert [method.teacher_nfe() for method in (LCM(), PCM(), TCD(weights=(1.0, 1.0)))] == [2, 2, 1]


@pytest.mark.parametrize("name", KIN)
def test_the_recipe_trains_a_student_of_digits(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    overrides = [f"stages.{name}.train.steps=2", f"stages.{name}.train.batch=8"]
    stages.run(recipe.load(ROOT / f"recipes/methods/{name}.yaml", overrides), tmp_path / "run", only=name)
    model, notes = load(tmp_path / "run" / name), read_metadata(tmp_path / "run" / name)
    assert notes["method"] == name and model.predicts == ("lcm_v" if name == "lcm" else "v")
    low, _ = model.guidance or (1.0, 1.0)
    assert sample(model, n=3, labels=torch.arange(3), guidance=low).isfinite().all()
