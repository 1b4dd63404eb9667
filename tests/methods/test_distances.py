"""Distances: their formulas, and as settings of a recipe."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.methods.base import L1, LPIPS, Huber, PseudoHuber, SquaredL2
from fastdiff.methods.time_sampling import KarrasIndex
from fastdiff.runs import recipe


def test_distances_are_their_formulas():
    a, b = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    e = (a - b).flatten(1)
    torch.testing.assert_close(SquaredL2()(a, b), e.square().sum(1) / 12)
    torch.testing.assert_close(L1()(a, b), e.abs().sum(1) / 12)
    c = 0.1 * 12**0.5
    torch.testing.assert_close(PseudoHuber(0.1)(a, b), (e.norm(dim=1) ** 2 + c**2).sqrt() - c)
    assert all(
        way(a.bfloat16(), b.bfloat16()).dtype == torch.float32 for way in (SquaredL2(), L1(), PseudoHuber())
    )


@pytest.mark.parametrize(
    ("make", "message", "key"),
    [
        (lambda: PseudoHuber(0), "c = 0: expected above 0", "c"),
        (lambda: Huber(-1.0), "c = -1.0: expected above 0", "c"),
        (lambda: LPIPS(size=15), "size = 15: expected at least 16", "size"),
    ],
)
def test_a_setting_out_of_its_bounds_is_an_error_of_its_own_key(make, message, key):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert caught.value.key == key


def test_distances_are_settings_of_a_recipe():
    chosen = {"distance": {"name": "pseudo_huber", "c": 0.03}, "times": {"name": "karras", "points": 9}}
    spec = {
        "name": "toy",
        "data": "toy",
        "model": {"net": "mlp"},
        "stages": {
            "a": {"method": {"name": "ect", **chosen}},
            "b": {"method": {"name": "ct", "distance": "l1"}},
        },
    }
    first, second = recipe.build(spec).stages
    assert (first.method.distance, first.method.times) == (PseudoHuber(0.03), KarrasIndex(9))
    assert second.method.distance == L1()
    spec["stages"]["b"]["method"]["distance"] = "l3"
    with pytest.raises(FastdiffError, match="choose from squared_l2, l1, pseudo_huber, huber, lpips"):
        recipe.build(spec)
