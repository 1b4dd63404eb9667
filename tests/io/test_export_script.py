"""Exports in diffusers' hands: the script in each card imports no fastdiff, and its pixels are those of our sampler."""

import inspect
import re

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.guidance import Guided
from fastdiff.core.prediction import ROWS
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.io.diffusers_names import LCM_NAMES
from fastdiff.io.export import scheduler as schedulers
from fastdiff.io.export.model import export
from fastdiff.io.export.scheduler import Stock, stock
from fastdiff.io.export.script import script
from fastdiff.io.load import load, record_times
from fastdiff.methods import METHODS
from fastdiff.networks import mlp, unet
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.plan import plan

SHAPE, SEVERAL = (1, 8, 8), (4, 1, 2, 8)
FEW = "karras[ratio_min=0.8]"
EDM = {"sigma_data": 0.5, "scale_input": True}


def sampled(sampler="ddim", spacing="uniform", steps=(4, 1), **more):
    return Sampling(sampler, spacing, steps, **more)


def student(schedule, predicts, sampling, classes=0, two=False, learned=False, guided=False, **options):
    torch.manual_seed(0)
    net = unet(SHAPE, classes, channels=(8, 8), layers=1, groups=4, learned_variance=learned)
    model = Denoiser(net, schedule, predicts, SHAPE, sampling=sampling, **options)
    model = with_second_time(model) if two else model
    model = with_guidance(model, (1.0, 4.0)) if guided else model
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # what begins at zero is to matter
    return model.eval().requires_grad_(False)


# name: the scheduler, and the model
KINDS = {
    "ddim of v": ("DDIMScheduler", lambda: student(Cosine(), "v", sampled())),
    "ddim of eps": ("DDIMScheduler", lambda: student(DDPM(), "eps", sampled())),
    "ddim of x0": ("DDIMScheduler", lambda: student(Sigmoid(), "x0", sampled())),
    "ddim of velocity": ("DDIMScheduler", lambda: student(Cosine(), "velocity", sampled())),
    "ddim with noise": ("DDIMScheduler", lambda: student(VP(), "v", sampled("ddim[eta=0.7]"))),
    "ddim, a clock of its own": (
        "DDIMScheduler",
        lambda: student(Cosine(), "v", sampled(), time_input="time"),
    ),
    "ddim, learned variance": (
        "DDIMScheduler",
        lambda: student(Cosine(), "v", sampled(steps=(50,)), learned=True),
    ),
    "ddim, labels": ("DDIMScheduler", lambda: student(Cosine(), "v", sampled(), 3)),
    "ddim, two times": ("DDIMScheduler", lambda: student(Cosine(), "v", sampled(), two=True)),
    "ddim, labels and two times": (
        "DDIMScheduler",
        lambda: student(Cosine(), "v", sampled(), 3, True, time_input="time"),
    ),
    "ddim, told guidance": ("DDIMScheduler", lambda: student(Cosine(), "v", sampled(), 3, guided=True)),
    "ddim, told both": ("DDIMScheduler", lambda: student(Cosine(), "v", sampled(), 3, True, guided=True)),
    "ddim in three steps": ("TCDScheduler", lambda: student(Cosine(), "x0", sampled(steps=(3,)), two=True)),
    "ddim in three steps of eps": ("TCDScheduler", lambda: student(DDPM(), "eps", sampled(steps=(3,)))),
    "ddim on trig": (
        "DDIMScheduler",
        lambda: student(Trig(), "velocity", sampled(), two=True, time_input="time"),
    ),
    "ddpm": ("DDPMScheduler", lambda: student(Cosine(), "v", sampled("ddpm", steps=(10,)))),
    "consistency of v": (
        "LCMScheduler",
        lambda: student(Cosine(), "v", sampled("consistency", steps=SEVERAL)),
    ),
    "consistency of eps": (
        "LCMScheduler",
        lambda: student(VP(), "eps", sampled("consistency", steps=SEVERAL), 3),
    ),
    "consistency from 80": (
        "LCMScheduler",
        lambda: student(Cosine(), "v", sampled("consistency", FEW, SEVERAL)),
    ),
    "consistency from 80 of eps": (
        "LCMScheduler",
        lambda: student(DDPM(), "eps", sampled("consistency", FEW, SEVERAL), 3),
    ),
    "consistency from 80, two times": (
        "LCMScheduler",
        lambda: student(Sigmoid(), "x0", sampled("consistency", FEW), two=True, time_input="edm"),
    ),
    "overshoot": (
        "TCDScheduler",
        lambda: student(Cosine(), "v", sampled("overshoot", steps=(16,), only=True), 3),
    ),
    "overshoot, two times": (
        "TCDScheduler",
        lambda: student(Cosine(), "v", sampled("overshoot", steps=(4,)), 3, True),
    ),
    "gamma": ("TCDScheduler", lambda: student(Cosine(), "v", sampled("gamma[gamma=0.5]"), two=True)),
    "gamma 1": ("TCDScheduler", lambda: student(VP(), "v", sampled("gamma[gamma=1]"))),
    "flow": (
        "FlowMatchEulerDiscreteScheduler",
        lambda: student(Flow(), "velocity", sampled(), time_input="thousand"),
    ),
    "flow, uneven": (
        "FlowMatchEulerDiscreteScheduler",
        lambda: student(Flow(), "velocity", sampled("euler", "quadratic"), 3),
    ),
    "flow, consistency": (
        "FlowMatchEulerDiscreteScheduler",
        lambda: student(Flow(), "velocity", sampled("consistency", "cosine"), 3, True, time_input="time"),
    ),
    "flow map": (
        "FlowMapEulerDiscreteScheduler",
        lambda: student(Flow(), "velocity", sampled(), two=True, time_input="time"),
    ),
    "trig": (
        "SCMScheduler",
        lambda: student(Trig(), "velocity", sampled("consistency", FEW, SEVERAL), time_input="time"),
    ),
    "trig of edm": (
        "SCMScheduler",
        lambda: student(Trig(sigma_data=0.5), "edm", sampled("consistency"), 3, time_input="time", **EDM),
    ),
    "edm": (
        "EDMEulerScheduler",
        lambda: student(Karras(), "edm", sampled("ddim", "karras"), time_input="edm", **EDM),
    ),
    "edm, even": (
        "EDMEulerScheduler",
        lambda: student(Karras(), "edm", sampled("euler"), 3, time_input="edm", **EDM),
    ),
    "edm, two times": (
        "EDMEulerScheduler",
        lambda: student(Karras(), "edm", sampled(steps=(2, 1)), two=True, time_input="cm", **EDM),
    ),
    "consistency of edm": (
        "CMStochasticIterativeScheduler",
        lambda: student(Karras(), "edm", sampled("consistency", FEW, SEVERAL), 3, time_input="edm", **EDM),
    ),
    "consistency of edm, a pipeline": (
        "CMStochasticIterativeScheduler",
        lambda: student(Karras(), "edm", sampled("consistency", FEW, (2,)), time_input="cm", **EDM),
    ),
}
if "cm" in ROWS:
    KINDS["consistency models"] = (
        "CMStochasticIterativeScheduler",
        lambda: student(Karras(), "cm", sampled("consistency", FEW, SEVERAL), 3, time_input="cm", **EDM),
    )
for name in LCM_NAMES:
    KINDS[name] = (
        "LCMScheduler",
        lambda name=name: student(DDPM(), name, sampled("consistency", steps=SEVERAL), 3),
    )


def block(folder):
    [found] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert "fastdiff" not in found
    return found


def run(folder, monkeypatch):
    """The names that the card's script leaves."""
    monkeypatch.chdir(folder)
    exec(compile(block(folder), "README.md", "exec"), names := {})
    return names


@torch.no_grad()
def ours(model, noise, steps, generator, labels=None):
    """Our sampler on this noise; what it draws on the way, it draws of the generator."""
    name, times, options = plan(model, None, steps, None)
    if "randn" in inspect.signature(SAMPLERS[name]).parameters:
        options["randn"] = lambda x: torch.randn(x.shape, generator=generator)
    denoise = Guided(
        model, None if labels is None else {"label": labels}, guidance=2.5 if model.guidance else 1.0
    )
    *_, last = SAMPLERS[name](
        denoise, noise * float(model.schedule.alpha_sigma(times[0])[1]), times, **options
    )
    return last.x


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_script_of_a_card_makes_our_pixels(tmp_path, monkeypatch, kind):
    scheduler, make = KINDS[kind]
    export(make(), tmp_path, {})
    model, names = load(tmp_path), run(tmp_path, monkeypatch)
    assert {file.name for file in tmp_path.iterdir()} >= {"README.md", "fastdiff.json", "scheduler", "unet"}
    if "generate" not in names:
        assert type(names["pipeline"].scheduler).__name__ == scheduler
        generator = seeded(0)
        x = ours(model, torch.randn(16, *SHAPE, generator=generator), None, generator)
        images = torch.from_numpy(names["images"]).permute(0, 3, 1, 2)
        torch.testing.assert_close(images, (x / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4)
        return
    assert type(names["scheduler"]).__name__ == scheduler and names["images"].shape == (16, *SHAPE)
    for steps in model.sampling.steps:
        noise, labels = (
            torch.randn(4, *SHAPE, generator=seeded(1)),
            torch.arange(4) if model.net.null_label else None,
        )
        asked = inspect.signature(names["generate"]).parameters
        told = {"labels": labels, "generator": seeded(2), "guidance": 2.5}
        theirs = names["generate"](
            noise, steps=steps, **{key: value for key, value in told.items() if key in asked}
        )
        x = ours(model, noise, steps, seeded(2), labels)
        assert x.std() > 0.05
        torch.testing.assert_close(theirs, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["ddim of v", "ddpm", "consistency of v", "consistency of edm, a pipeline"])
def test_a_plain_student_is_a_pipeline(tmp_path, kind):
    export(KINDS[kind][1](), tmp_path, {})
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(pipeline.scheduler).__name__ == KINDS[kind][
        0
    ] and "Pipeline.from_pretrained(folder)" in block(tmp_path)


@pytest.mark.parametrize(
    "kind", ["ddim, labels", "ddim, two times", "ddim, a clock of its own", "consistency from 80", "flow"]
)
def test_what_no_pipeline_calls_right_is_called_none(tmp_path, kind):
    export(KINDS[kind][1](), tmp_path, {})
    assert not (tmp_path / "model_index.json").exists()


def test_exporting_again_leaves_no_pipeline_of_another_model(tmp_path):
    for kind in ("ddim of v", "flow"):
        export(KINDS[kind][1](), tmp_path, {})
    assert not (tmp_path / "model_index.json").exists()
    export(student(Flow(shift=3.0), "velocity", sampled()), tmp_path, {})
    assert not (tmp_path / "scheduler").exists()


# ---- methods

OPTIONS = {"progressive": {"steps": 4}, "stochastic": {"steps": 4}}
SCHEDULERS = {
    **dict.fromkeys(("stochastic", "tcd", "pcm"), "TCDScheduler"),
    **dict.fromkeys(  # by DDIM all others
        (
            "cd",
            "ct",
            "ict",
            "ect",
            "consistency",
            "tcm",
            "sct",
            "scd",
            "scm",
            "lcm",
            "dmd2",
            "f_distill",
            "sid",
            "sida",
            "diff_instruct",
            "add",
            "ladd",
        ),
        "LCMScheduler",
    ),
}


@pytest.mark.parametrize("time_input", ["timestep", "time"])
@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_has_its_scheduler(name, time_input):
    method = METHODS[name](**OPTIONS.get(name, {}))
    found = stock(student(Cosine(), "v", method.sampling(), time_input=time_input))
    assert isinstance(found, Stock) and found.scheduler == SCHEDULERS.get(name, "DDIMScheduler")


# ---- what diffusers has nothing for


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            lambda: student(Cosine(), "v", sampled("dpmpp_2m")),
            "no scheduler of diffusers samples by dpmpp_2m on this grid",
        ),
        (
            lambda: student(Flow(), "velocity", sampled("overshoot")),
            "no scheduler of diffusers samples by overshoot on Flow",
        ),
        (
            lambda: student(Flow(), "x0", sampled()),
            "take a velocity, by ddim, euler or consistency: not x0 by ddim",
        ),
        (lambda: student(Flow(shift=3.0), "velocity", sampled()), "tell a network the shifted time"),
        (
            lambda: student(Karras(), "eps", sampled()),
            "take EDM's or a consistency model's network on Karras",
        ),
        (
            lambda: student(Karras(), "edm", sampled(), time_input="time", **EDM),
            "the network's clock, time, is not that",
        ),
        (
            lambda: student(Cosine(), "edm", sampled(), sigma_data=0.5),
            "takes what this network predicts, edm, on Cosine",
        ),
        (lambda: student(Cosine(), "v", sampled("ddpm", steps=(3,))), "equal strides of 1000 timesteps"),
        (
            lambda: student(Cosine(), "v", sampled(), sigma_data=0.5, scale_input=True),
            "scales a network's input",
        ),
    ],
)
def test_where_there_is_none_the_card_says_why(tmp_path, model, why):
    text, reason = script(model())
    assert not text and why in reason
    export(model(), tmp_path, {})
    card = (tmp_path / "README.md").read_text()
    assert reason in card and "```python" not in card and not (tmp_path / "scheduler").exists()
    assert load(tmp_path).sampling == model().sampling


def test_a_network_of_ours_is_opened_by_fastdiff_alone(tmp_path):
    export(Denoiser(mlp((2,), width=8, depth=1), Cosine(), "v", (2,)), tmp_path, {})
    card = (tmp_path / "README.md").read_text()
    assert (
        "```python" not in card
        and "The network is fastdiff's own, MLP" in card
        and "library_name: fastdiff" in card
    )


def test_an_older_diffusers_is_named(monkeypatch):
    monkeypatch.setattr(schedulers, "preserving", lambda *given: Stock("LaterScheduler", {}, "steps", "1"))
    assert (
        f"diffusers {diffusers.__version__} has no LaterScheduler"
        in script(student(Cosine(), "v", sampled()))[1]
    )


# ---- grids


def test_times_that_were_searched_are_baked_in(tmp_path, monkeypatch):
    model = student(
        Cosine(), "v", sampled("consistency", times=((1.0, 0.7), (0.95, 0.6, 0.3))), time_input="time"
    )
    export(model, tmp_path, {})
    names, noise = run(tmp_path, monkeypatch), torch.randn(4, *SHAPE, generator=seeded(1))
    assert set(names["grids"]) == {1, 2, 3, 4}
    for steps in (2, 3):
        theirs = names["generate"](noise, steps=steps, generator=seeded(2))
        torch.testing.assert_close(theirs, ours(model, noise, steps, seeded(2)), rtol=1e-4, atol=1e-4)


def test_times_recorded_later_come_into_the_card(tmp_path):
    from fastdiff.runs.cards import renew

    export(student(Cosine(), "v", sampled("consistency")), tmp_path, {})
    assert "grids" not in block(tmp_path)
    record_times(tmp_path, [1.0, 1 / 3])
    renew(tmp_path)
    assert "grids = {1:" in block(tmp_path)
