"""Settings of the consistency family: those that cannot train, and those of its shipped recipes."""

import pytest

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.methods import METHODS
from fastdiff.methods.base import LogNormal, Uniform
from fastdiff.methods.cd import CD
from fastdiff.methods.consistency_curricula import CT, ICT
from fastdiff.methods.tcm import TCM
from fastdiff.networks import mlp
from fastdiff.runs import recipe
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (CD, {"mu": 1.0}),
        (CT, {"s0": 1}),
        (CT, {"s0": 10, "s1": 5}),
        (CT, {"times": Uniform()}),
        (ICT, {"times": LogNormal()}),
        (CT, {"mu0": 1.0}),
        (TCM, {"truncation": 2.0}),
        (TCM, {"times": LogNormal()}),
        (TCM, {"boundary_share": 0.0}),
        (TCM, {"boundary_weight": 0.0}),
    ],
)
def test_settings_that_cannot_train_are_refused(method, settings):
    with pytest.raises(
        FastdiffError, match=list(settings)[-1] if method is not TCM else "truncation|boundary"
    ):
        method(**settings)


@pytest.mark.parametrize("name", ["ect", "cd", "ct", "ict", "tcm"])
def test_a_student_without_the_identity_at_data_is_refused(name):
    with pytest.raises(FastdiffError, match="choose v, velocity or edm"):
        METHODS[name]().trainable_networks(Denoiser(mlp((2,)), Cosine(), "eps", (2,)), None)


@pytest.mark.parametrize("name", ["cd", "ct", "ict", "ect", "tcm", "sct", "scd"])
def test_its_recipe(name):
    made = recipe.load(ROOT / f"recipes/methods/{name}.yaml")
    assert (
        made.stages[-1].method_name == name
        and tuple(made.bench.steps) == (1, 2, 4, 8)
        and made.bench.n == 1797
    )
    assert any(
        "checkpoints/digits-labels/teacher" in (stage.teacher or "", stage.init or "")
        for stage in made.stages
    )
