"""Names of metrics: their family, their direction, and keys that only accompany them."""

import pytest

from fastdiff.evaluation.metric_names import (
    FAMILIES,
    MAIN_METRICS,
    UNRANKED_FAMILIES,
    better,
    family,
    is_metric,
)


@pytest.mark.parametrize(
    ("name", "of", "direction"),
    [
        ("fid", "fid", "lower"),
        ("fd_digits", "fd", "lower"),
        ("sfd_vgg16", "sfd", "lower"),
        ("is", "is", "higher"),
        ("precision_inception", "precision", "higher"),
        ("nll", "nll", "lower"),
    ],
)
def test_a_key_has_the_family_it_begins_with(name, of, direction):
    assert is_metric(name) and family(name) == of and better(name) == direction


@pytest.mark.parametrize(
    "name",
    ["fd_digits_inf", "kd_digits_se", "fid_ci", "energy_min", "is_std", "ms_per_image", "seed", "isle"],
)
def test_other_keys_are_no_metrics(name):
    assert not is_metric(name)


def test_the_main_metric_of_a_report_is_a_distance():
    assert {better(name) for name in MAIN_METRICS} == {"lower"} and set(UNRANKED_FAMILIES) < set(FAMILIES)
