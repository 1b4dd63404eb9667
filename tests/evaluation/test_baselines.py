"""The baselines that a teacher is measured with: the same everywhere, and each can be read."""

import inspect

from fastdiff.cli.bench import bench
from fastdiff.cli.options import words
from fastdiff.evaluation.baselines import BASELINES
from fastdiff.evaluation.config import BenchConfig, baseline
from fastdiff.samplers import SAMPLERS, SPACINGS


def test_a_benchmark_has_the_same_baselines_from_a_command_and_from_a_recipe():
    default = inspect.signature(bench).parameters["baselines"].default
    assert words(default) == BenchConfig().baselines == BASELINES


def test_every_baseline_is_a_sampler_on_a_grid():
    for (sampler, spacing, steps), n in map(baseline, BASELINES):
        assert sampler in SAMPLERS and spacing in SPACINGS and steps > 0 and n is None
    assert len(set(BASELINES)) == len(BASELINES)
