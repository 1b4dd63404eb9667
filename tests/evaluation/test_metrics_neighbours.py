"""Precision, recall, density and coverage by their definitions."""

import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from fastdiff.evaluation.metrics.neighbours import neighbourhood
from tests.helpers.tensors import rng


def test_precision_and_recall_are_torch_fidelitys():
    x, y = torch.randn(200, 5, generator=rng()) * 0.7, torch.randn(150, 5, generator=rng(1))
    theirs = prc_features_to_metric(x, y, verbose=False)
    ours = neighbourhood(x, y)
    assert 0 < theirs["recall"] < theirs["precision"] < 1
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-4)
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-4)


def test_density_and_coverage_by_their_definition():
    x, y = torch.randn(60, 2, generator=rng()) * 0.8, torch.randn(50, 2, generator=rng(1))
    between, within = torch.cdist(y, x), torch.cdist(y, y)
    radius = within.sort(1).values[:, 5]
    ours = neighbourhood(x, y)
    assert ours["density"] == pytest.approx(
        ((between < radius[:, None]).sum(0).float() / 5).mean().item(), rel=1e-5
    )
    assert ours["coverage"] == pytest.approx((between.amin(1) < radius).float().mean().item(), rel=1e-5)


def test_what_fresh_copied_collapsed_and_spread_samples_look_like():
    y = torch.randn(400, 4, generator=rng())
    fresh, copied = neighbourhood(torch.randn(400, 4, generator=rng(1)), y), neighbourhood(y + 1e-3, y)
    assert fresh["nearest"] == pytest.approx(1, abs=0.15) and fresh["diversity"] == pytest.approx(1, abs=0.1)
    assert copied["nearest"] < 0.05
    collapsed = neighbourhood(0.01 * torch.randn(400, 4, generator=rng(2)), y)
    assert collapsed["diversity"] < 0.05 and collapsed["coverage"] < 0.2 and collapsed["precision"] > 0.9
    wide = neighbourhood(4 * torch.randn(400, 4, generator=rng(3)), y)
    assert wide["precision"] < 0.4 and wide["diversity"] > 3
