"""The first defaults of settings: what an origin without a setting means."""

from dataclasses import fields

import pytest

from fastdiff.methods import METHODS
from fastdiff.methods.base import PseudoHuber, Uniform
from fastdiff.methods.cd import CD
from fastdiff.methods.ect import ECT
from fastdiff.runs.first_defaults import FIRST_DEFAULTS
from fastdiff.runs.origin import non_default_settings, plain


@pytest.mark.parametrize("name", FIRST_DEFAULTS)
def test_each_is_a_setting_whose_default_has_changed(name):
    method = METHODS[name]()
    settings = {setting.name for setting in fields(method)}
    for setting, first in FIRST_DEFAULTS[name].items():
        assert setting in settings and plain(getattr(method, setting)) != first


def test_the_origin_of_a_student_of_the_first_defaults_is_unchanged():
    first = {"times": Uniform(), "k": 0.0, "clock": "time"}
    ect = ECT(halvings=6, **first)
    cd = CD(halvings=6, distance=PseudoHuber(), solver="euler", **first)
    assert non_default_settings(ect, FIRST_DEFAULTS["ect"]) == {"halvings": 6}
    assert non_default_settings(cd, FIRST_DEFAULTS["cd"]) == {"halvings": 6}


def test_a_student_of_the_present_defaults_has_an_origin_of_its_own():
    assert non_default_settings(ECT(), FIRST_DEFAULTS["ect"]) == {
        "times": "LogNormal(mean=-1.1, std=2.0)",
        "halvings": 7,
        "k": 8.0,
        "clock": "sigma",
    }
