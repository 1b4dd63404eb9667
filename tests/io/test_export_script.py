"""Exports in diffusers' hands: the script in each card imports no fastdiff,
and its pixels are those of our sampler."""

import inspect

import pytest
import torch
from diffusers import DiffusionPipeline

from fastdiff.core.prediction import PREDICTION_TYPES
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.io.diffusers_names import LCM_NAMES
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from tests.helpers.card_scripts import block, run
from tests.helpers.tiny_students import EDM, SEVERAL, SHAPE, ours, sampled, seeded, student

FEW = "karras[ratio_min=0.8]"


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
if "cm" in PREDICTION_TYPES:
    KINDS["consistency models"] = (
        "CMStochasticIterativeScheduler",
        lambda: student(Karras(), "cm", sampled("consistency", FEW, SEVERAL), 3, time_input="cm", **EDM),
    )
for name in LCM_NAMES:
    KINDS[name] = (
        "LCMScheduler",
        lambda name=name: student(DDPM(), name, sampled("consistency", steps=SEVERAL), 3),
    )


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
