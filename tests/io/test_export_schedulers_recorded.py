"""Recorded bounds, ends and variances are settings of the exported scheduler, or named as what it lacks."""

from dataclasses import replace

import diffusers
import pytest
import torch

from fastdiff.core.schedule import DDPM
from fastdiff.io.export.model import export
from fastdiff.io.export.schedulers.description import NoMatchingSchedulerError
from fastdiff.io.export.schedulers.match import matching_scheduler
from fastdiff.io.export.schedulers.recorded import bound_settings, end_settings, with_recorded
from fastdiff.io.formats.scheduler_config import TABLE_SETTINGS, scheduler_settings
from fastdiff.io.load import load
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.tiny_students import sampled, student

DDIM = [
    {},
    {"clip_sample_range": 0.7},
    {"clip_sample": False, "set_alpha_to_one": False},
    {"thresholding": True, "sample_max_value": 1.5},
    {"steps_offset": 1, "timestep_spacing": "trailing"},
]


@pytest.mark.parametrize("options", DDIM, ids=str)
def test_what_was_read_is_written_again(tmp_path, options):
    read = diffusers.DDIMScheduler(**options)
    read.save_pretrained(tmp_path / "scheduler")
    sampling = scheduler_settings(tmp_path, TABLE_SETTINGS).sampling
    found = matching_scheduler(student(DDPM(), "eps", sampling))
    assert found.class_name == "DDIMScheduler"
    written = diffusers.DDIMScheduler(**found.config)
    same = ["timestep_spacing", "set_alpha_to_one", "thresholding"]
    same += ["clip_sample", "clip_sample_range"] if not read.config.thresholding else ["sample_max_value"]
    same += ["steps_offset"] if read.config.timestep_spacing == "leading" else []
    assert {name: written.config[name] for name in same} == {name: read.config[name] for name in same}


def test_a_variance_is_written_again():
    own = replace(sampled("ddpm", "leading", (1000,)), variance="large", clip=1.0)
    found = matching_scheduler(student(DDPM(), "eps", own))
    assert (found.class_name, found.config["variance_type"]) == ("DDPMScheduler", "fixed_large")
    assert found.config["clip_sample"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clip": 1.0}, "does not bound x0"),
        ({"end": (0.9, 0.1)}, "does not end at the level"),
        ({"time_rounding": "floor"}, "time is rounded"),
    ],
    ids=str,
)
def test_what_no_scheduler_does_is_named(changes, said):
    own = replace(sampled("ddim", "leading", (4,)), **changes)
    assert said in matching_scheduler(student(DDPM(), "eps", own))


def test_settings_of_other_schedulers():
    plain = sampled("ddim", "leading", (4,))
    model = student(DDPM(), "eps", plain)
    assert bound_settings(plain, "TCDScheduler") == {} == end_settings(model, "TCDScheduler")
    clipped = replace(plain, clip=1.0)
    assert bound_settings(clipped, "CMStochasticIterativeScheduler") == {"clip_denoised": True}
    with pytest.raises(NoMatchingSchedulerError, match="TCDScheduler"):
        bound_settings(clipped, "TCDScheduler")
    first = model.schedule.alpha_sigma(torch.ones((), dtype=torch.float64))
    model.sampling = replace(plain, end=tuple(map(float, first)))
    assert end_settings(model, "DDIMScheduler") == {"set_alpha_to_one": False}
    scheduler = matching_scheduler(student(DDPM(), "eps", plain))
    assert with_recorded(scheduler, student(DDPM(), "eps", plain)) is scheduler


@pytest.mark.parametrize("options", [{}, {"clip_sample": False, "set_alpha_to_one": False}], ids=str)
def test_a_foreign_pipeline_that_is_exported_makes_the_same_pictures(tmp_path, options):
    pipeline = tiny.alive(diffusers.DDIMPipeline(tiny.unet(1), diffusers.DDIMScheduler(**options)))
    pipeline.save_pretrained(tmp_path / "theirs")
    model = load(tmp_path / "theirs")
    (tmp_path / "copy").mkdir()
    export(model, tmp_path / "copy", {})
    assert load(tmp_path / "copy").sampling == model.sampling
    again = tiny.quiet(diffusers.DiffusionPipeline.from_pretrained(tmp_path / "copy"))
    pictures = [
        of(2, torch.Generator().manual_seed(1), num_inference_steps=3, output_type="np").images
        for of in (pipeline, again)
    ]
    torch.testing.assert_close(*map(torch.as_tensor, pictures))
