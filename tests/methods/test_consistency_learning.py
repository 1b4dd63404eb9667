"""The consistency family learns the toy mixture in 300 steps."""

import pytest

from fastdiff.core.schedule import Cosine
from fastdiff.data.toys import mixture
from fastdiff.methods.base import PseudoHuber, SquaredL2, Uniform
from fastdiff.methods.cd import CD
from fastdiff.methods.consistency_curricula import CT, ICT
from fastdiff.methods.ect import ECT
from fastdiff.methods.time_sampling import KarrasIndex
from fastdiff.networks.oracle import GaussianMixture
from tests.helpers.consistency import IN_TIME, energy, trained

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def oracle():
    return GaussianMixture(*(v.float() for v in mixture()), Cosine())


@pytest.mark.parametrize(
    ("method", "share"),
    [
        (ECT(), 0.2),
        (CD(times=Uniform(), halvings=2, distance=PseudoHuber(), **IN_TIME), 0.2),
        (CD(times=KarrasIndex(), solver="heun", mu=0.9, distance=SquaredL2()), 0.2),
        (CT(s1=20, mu0=0.5), 0.3),
        (ICT(), 0.2),
    ],
    ids=["ect", "cd", "cd-karras-heun", "ct", "ict"],
)
def test_it_learns(method, share, start, oracle, tmp_path):
    """CT with a smaller grid and a faster average than the paper's, which are made for 800,000 steps."""
    student = trained(method, start, oracle if method.needs_teacher else None, tmp_path)
    before, one, two = energy(start, 1, "consistency"), energy(student, 1), energy(student, 2)
    assert one < share * before and two < one
