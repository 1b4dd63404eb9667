"""The adaptive integrator: closed forms in both directions, and each sample on its own."""

import math
from functools import partial

import pytest
import torch

from fastdiff.samplers.runge_kutta import BOGACKI_SHAMPINE, DORMAND_PRINCE, ShortStepError, integrate
from tests.helpers.tensors import f64

tableaux = pytest.mark.parametrize(
    "tableau", [BOGACKI_SHAMPINE, DORMAND_PRINCE], ids=lambda tableau: tableau.order
)


def largest(error):
    return error.flatten(1).abs().amax(1).double()


run = partial(integrate, rtol=1e-7, atol=1e-7, first_step=0.1, growth=5.0, norm=largest)


def decay(z, u):
    """dz/du = -z, and the position as a value that is carried along."""
    return -z, u[:, None]


@tableaux
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0)])
def test_both_directions_end_on_the_closed_form(tableau, start, end):
    *_, last = run(decay, f64([[1.0, 2.0], [-3.0, 0.5]]), start, end, tableau)
    torch.testing.assert_close(
        last.z, f64([[1.0, 2.0], [-3.0, 0.5]]) * math.exp(start - end), rtol=1e-6, atol=0
    )
    assert (last.u == end).all() and last.farthest == end


@tableaux
def test_a_way_up_is_the_way_down_of_the_opposite_field(tableau):
    z = f64([[1.0, 2.0], [-3.0, 0.5]])
    *_, up = run(lambda z, u: (u[:, None] * z.sin(),), z, -0.5, 1.0, tableau)
    *_, down = run(lambda z, u: (u[:, None] * z.sin(),), z, 0.5, -1.0, tableau)
    assert torch.equal(up.z, down.z)  # u sin z is odd in u


@tableaux
def test_a_polynomial_of_its_order_is_integrated_exactly(tableau):
    power = tableau.order - 1

    def field(z, u):
        return ((power + 1) * u[:, None] ** power,)

    fronts = list(
        integrate(
            field,
            f64([[0.0]]),
            0.0,
            2.0,
            tableau,
            rtol=1e9,
            atol=1e9,
            first_step=2.0,
            growth=5.0,
            norm=largest,
        )
    )
    assert len(fronts) == 2
    torch.testing.assert_close(fronts[-1].z, f64([[2.0 ** (power + 1)]]), rtol=1e-14, atol=0)


@tableaux
def test_a_sample_takes_the_same_steps_in_any_batch(tableau):
    z = f64([[1e-3], [40.0], [-2.0]])

    def field(z, u):
        return (torch.cos(z * u[:, None]),)

    *_, together = run(field, z, 0.0, 2.0, tableau)
    for i in range(3):
        *_, alone = run(field, z[i : i + 1], 0.0, 2.0, tableau)
        assert torch.equal(alone.z, together.z[i : i + 1])


def test_values_are_those_of_the_points_reached():
    for front in run(decay, f64([[1.0], [30.0]]), 0.0, 1.0, BOGACKI_SHAMPINE):
        slope, position = front.values
        assert torch.equal(slope, -front.z)
        torch.testing.assert_close(position[:, 0], front.u)
        assert front.farthest == front.u.min()


def test_no_way_is_no_round():
    fronts = list(run(decay, f64([[1.0]]), 0.5, 0.5, DORMAND_PRINCE))
    assert len(fronts) == 1 and fronts[0].farthest == 0.5


def test_an_error_that_no_step_meets_is_raised():
    with pytest.raises(ShortStepError, match=r"at u = 0\b") as caught:
        list(run(lambda z, u: (z / 0.0,), f64([[1.0]]), 0.0, 1.0, DORMAND_PRINCE))
    assert caught.value.u == 0.0
