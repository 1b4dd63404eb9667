"""Texts of figures: digits, spreads, signs and ratios."""

import pytest

from fastdiff.evaluation.formatting import figure, finite, ratio, signed


@pytest.mark.parametrize(
    "mean, std, text",
    [
        (24.13, 0.31, "24.1 ± 0.3"),
        (3.5, None, "3.50"),
        (9.996, None, "10.0"),
        (3519.4, 12.0, "3519 ± 12"),
        (24.2, 0.0999999, "24.2 ± 0.1"),
        (0.01234, 0.0004, "0.0123 ± 0.0004"),
        (-0.5, None, "-0.500"),
        (0, 0, "0 ± 0"),
        (1e-9, None, "1.00e-09"),
        (float("nan"), 1.0, "diverged"),
        (None, None, "–"),
        (0.01459, 0.80861, "0.015 ± 0.809"),
    ],
)
def test_figures_read_to_three_digits(mean, std, text):
    assert figure(mean, std) == text


def test_a_difference_has_its_sign():
    assert [signed(2.741, 0.9), signed(-0.12), signed(0.0)] == ["+2.74 ± 0.90", "−0.120", "+0"]


def test_ratios_have_two_digits_and_only_numbers_are_finite():
    assert [ratio(times) for times in (0.851, 1.34, 410.2)] == ["0.85", "1.3", "410"]
    assert [finite(value) for value in (1.0, None, float("inf"), float("nan"))] == [True, False, False, False]
