"""Beta tables: every kind is that of diffusers, and a table stretched to zero ends in pure noise."""

import math
from dataclasses import replace

import pytest
import torch

from fastdiff.core.betas import BETAS, cosine_betas, with_zero_terminal_snr
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from tests.helpers.tensors import f64


def test_the_table_is_diffusers():
    from diffusers import DDPMScheduler

    alpha, sigma = DDPM().alpha_sigma(torch.arange(1, 1001, dtype=torch.float64))
    table = DDPMScheduler().alphas_cumprod
    torch.testing.assert_close(alpha.square().float(), table, rtol=2e-5, atol=0)
    torch.testing.assert_close((sigma**2).float(), 1 - table, rtol=0, atol=1e-6)
    other = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    mine = DDPM(betas=tuple(other.betas.double().tolist()))
    torch.testing.assert_close(
        mine.alpha_sigma(torch.arange(1, 1001.0))[0].square().float(),
        other.alphas_cumprod,
        rtol=1e-4,
        atol=1e-9,
    )


@pytest.mark.parametrize("entries", [1000, 20])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine", "sigmoid", "given"])
def test_every_kind_of_table_is_diffusers(kind, zero, entries):
    from diffusers import DDPMScheduler

    given = tuple((4 / entries * torch.rand(entries, generator=torch.Generator().manual_seed(0))).tolist())
    theirs = {"cosine": "squaredcos_cap_v2", "given": "linear"}.get(kind, kind)
    wanted = DDPMScheduler(
        entries,
        beta_start=8.5e-4,
        beta_end=1.2e-2,
        beta_schedule=theirs,
        rescale_betas_zero_snr=zero,
        trained_betas=given if kind == "given" else None,
    ).alphas_cumprod.double()
    mine = DDPM(
        entries,
        8.5e-4,
        1.2e-2,
        **({"betas": given} if kind == "given" else {"kind": kind}),
        zero_terminal_snr=zero,
    )
    alpha, _ = mine.alpha_sigma(torch.arange(1, entries + 1, dtype=torch.float64))
    plain = replace(mine, zero_terminal_snr=False).table
    stretch = float(plain[1] / (plain[1] - plain[-1])) if zero else 1.0  # of diffusers' float32 rounding, too
    torch.testing.assert_close(alpha**2, wanted, rtol=0, atol=1e-6 * stretch)
    assert (alpha[-1] == 0) == zero
    first, last, middle = plain[1], plain[-1], plain[entries // 2]  # Lin et al. 2023, algorithm 1
    assert not zero or float(mine.table[entries // 2]) == pytest.approx(
        float((middle - last) * first / (first - last))
    )


def test_an_unknown_kind_of_table_is_refused():
    with pytest.raises(
        FastdiffError, match="kind 'squared' is unknown, choose from linear, scaled_linear, cosine, sigmoid"
    ):
        DDPM(kind="squared")


def test_a_table_of_the_wrong_length_is_refused():
    with pytest.raises(FastdiffError, match="2 betas: expected t_max = 1000"):
        DDPM(betas=(0.1, 0.2)).alpha_sigma(f64(1.0))


@pytest.mark.parametrize("kind", [kind for kind in BETAS if kind != "cosine"])
def test_a_table_rises_between_its_bounds(kind):
    betas = BETAS[kind](11, 0.01, 0.25)
    middle = {"linear": 0.13, "scaled_linear": 0.3**2, "sigmoid": 0.13}[kind]  # 0.3 is midway from 0.1 to 0.5
    assert (betas.diff() > 0).all() and float(betas[5]) == pytest.approx(middle, rel=1e-12)
    edge = 0.24 / (1 + math.exp(6)) if kind == "sigmoid" else 0.0
    assert [float(betas[0]), float(betas[-1])] == pytest.approx([0.01 + edge, 0.25 - edge], rel=1e-12)


def test_the_products_of_the_cosine_table_are_its_squared_cosine():
    betas = cosine_betas(20)
    angle = (torch.arange(1, 20, dtype=torch.float64) / 20 + 0.008) / 1.008 * math.pi / 2
    wanted = (angle.cos() / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    torch.testing.assert_close((1 - betas).cumprod(0)[:-1], wanted, rtol=1e-12, atol=0)
    assert float(betas[-1]) == 0.999


def test_a_table_stretched_to_zero_keeps_its_first_entry_and_its_proportions():
    assert with_zero_terminal_snr(f64([0.9, 0.5, 0.1])).tolist() == pytest.approx([0.9, 0.45, 0.0], abs=1e-15)
