"""Schedulers of diffusers for what each method makes, grids that are baked in,
and students for whom there is none."""

import diffusers
import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.io.export.model import export
from fastdiff.io.export.schedulers import match
from fastdiff.io.export.schedulers.description import DiffusersScheduler
from fastdiff.io.export.script import script
from fastdiff.io.load import load
from fastdiff.methods import METHODS
from fastdiff.networks import mlp
from tests.helpers.card_scripts import run
from tests.helpers.tiny_students import EDM, SHAPE, ours, sampled, seeded, student

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
    found = match.matching_scheduler(student(Cosine(), "v", method.sampling(), time_input=time_input))
    assert isinstance(found, DiffusersScheduler) and found.class_name == SCHEDULERS.get(name, "DDIMScheduler")


# ---- what diffusers has nothing for


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            lambda: student(Cosine(), "v", sampled("dpmpp_2m")),
            "diffusers has no scheduler for the sampler dpmpp_2m on this grid",
        ),
        (
            lambda: student(Flow(), "velocity", sampled("overshoot")),
            "diffusers has no scheduler for the sampler overshoot on Flow",
        ),
        (
            lambda: student(Flow(), "x0", sampled()),
            "take a velocity, and ddim, euler or consistency, not x0 and ddim",
        ),
        (lambda: student(Flow(shift=3.0), "velocity", sampled()), "call the network with the shifted time"),
        (
            lambda: student(Karras(), "eps", sampled()),
            "take an EDM network or a consistency model on Karras",
        ),
        (
            lambda: student(Karras(), "edm", sampled(), time_input="time", **EDM),
            "the network's time input, time, is not that",
        ),
        (
            lambda: student(Cosine(), "edm", sampled(), sigma_data=0.5),
            "takes this network's prediction, edm, on Cosine",
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
    later = DiffusersScheduler("LaterScheduler", {}, "steps", "1")
    monkeypatch.setattr(match, "table_scheduler", lambda *given: later)
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
