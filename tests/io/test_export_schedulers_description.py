"""A scheduler of diffusers as an export needs it: it says whether its steps draw noise."""

import inspect

import diffusers
import pytest

from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.io.export.schedulers.match import matching_scheduler
from tests.helpers.tiny_students import EDM, sampled, student


@pytest.mark.parametrize(
    ("schedule", "predicts", "sampler", "draws"),
    [
        (Cosine(), "v", "ddim", False),
        (Cosine(), "v", "ddim[eta=1]", True),
        (Cosine(), "v", "ddpm", True),
        (Cosine(), "v", "consistency", True),
        (Flow(), "velocity", "euler", False),
        (Flow(), "velocity", "consistency", True),
        (Karras(), "edm", "ddim", False),
    ],
)
def test_noise_is_drawn_where_the_sampler_draws_it(schedule, predicts, sampler, draws):
    options = EDM | {"time_input": "edm"} if predicts == "edm" else {}
    found = matching_scheduler(student(schedule, predicts, sampled(sampler, steps=(4,)), **options))
    assert found.draws_noise == draws
    step = inspect.signature(getattr(diffusers, found.class_name).step).parameters
    assert {option.partition("=")[0] for option in found.step_options} <= set(step)
