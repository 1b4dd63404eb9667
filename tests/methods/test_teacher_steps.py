"""A teacher's guided prediction and Heun's step, against their formulas."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.methods.teacher_steps import guided, heun
from fastdiff.networks import mlp
from tests.helpers.oracles import told

X = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
T, S = torch.full((4,), 0.7, dtype=torch.float64), torch.full((4,), 0.4, dtype=torch.float64)


@pytest.fixture(scope="module")
def by_class():
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), 3), Cosine(), "v", (2,)).double()
    torch.nn.init.normal_(model.net.last.weight)
    return model


@pytest.mark.parametrize("weight", [0.0, 2.5, torch.tensor([[0.0], [1.0], [2.0], [3.0]]).double()])
def test_guidance_leads_away_from_the_null_class(by_class, weight):
    cond = {"label": torch.tensor([0, 1, 2, 0])}
    p = guided(by_class, X, T, S, cond, weight)
    with_class, without = by_class(X, T, S, cond), by_class(X, T, S, by_class.null(cond))
    torch.testing.assert_close(p.x0, without.x0 + weight * (with_class.x0 - without.x0))
    torch.testing.assert_close(p.eps, without.eps + weight * (with_class.eps - without.eps))
    assert not torch.allclose(with_class.x0, without.x0)


def test_a_weight_of_one_needs_no_class(by_class):
    torch.testing.assert_close(guided(by_class, X, T, S, None, 1).x0, by_class(X, T, S, None).x0)


def test_heun_is_exact_where_the_prediction_is_constant():
    schedule, point = Cosine(), torch.tensor([0.3, -0.2], dtype=torch.float64)
    teacher = told(lambda x, t, s: point.expand_as(x), schedule, "x0")
    eps = (X - schedule.mix(point.expand_as(X), 0 * X, T)) / schedule.alpha_sigma(T)[1][:, None]
    exact = schedule.mix(point.expand_as(X), eps, S)
    torch.testing.assert_close(heun(teacher, schedule, X, T, S, None), exact, rtol=1e-10, atol=1e-10)
    clean = heun(teacher, schedule, X, T, torch.zeros_like(T), None)
    torch.testing.assert_close(clean, point.expand_as(X), rtol=1e-6, atol=1e-6)
