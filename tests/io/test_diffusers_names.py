"""Schedules in the names and tables of diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler

from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine, Sigmoid, Trig
from fastdiff.io.diffusers_names import table_betas, table_config, variance_preserving


@pytest.mark.parametrize(
    "schedule",
    [
        DDPM(),
        DDPM(zero_terminal_snr=True),
        DDPM(50, 1e-3, 0.2, kind="scaled_linear"),
        DDPM(kind="cosine"),
        DDPM(kind="sigmoid", zero_terminal_snr=True),
        DDPM(t_max=3, betas=(0.1, 0.2, 0.5)),
    ],
    ids=repr,
)
def test_a_table_keeps_its_name_in_files(tmp_path, schedule):
    from diffusers import DDIMScheduler

    from fastdiff.core.denoiser import Denoiser
    from fastdiff.core.sampling import Sampling
    from fastdiff.io.export.model import export
    from fastdiff.io.load import load
    from fastdiff.networks import unet

    net = unet((1, 8, 8), channels=(8,), layers=1, groups=4)
    export(Denoiser(net, schedule, "v", (1, 8, 8), sampling=Sampling(steps=(1,))), tmp_path, {})
    theirs = DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler").alphas_cumprod.double()
    torch.testing.assert_close(theirs, schedule.table[1:] ** 2, rtol=0, atol=2e-6)
    assert load(tmp_path).schedule == schedule
    (tmp_path / "fastdiff.json").unlink()
    read = load(tmp_path).schedule  # DDIMScheduler has no sigmoid: its betas are written out
    torch.testing.assert_close(read.table, schedule.table, rtol=0, atol=1e-7)
    assert read == schedule or schedule.kind == "sigmoid"


def test_only_some_schedules_preserve_the_variance():
    preserving = {name for name, kind in SCHEDULES.items() if variance_preserving(kind())}
    assert preserving == {"ddpm", "cosine", "sigmoid", "vp", "trig"}
    assert not variance_preserving(Trig(sigma_data=0.5))


@pytest.mark.parametrize("schedule", [Cosine(), Sigmoid(), DDPM(kind="sigmoid"), DDPM(t_max=200)], ids=repr)
def test_the_products_of_a_table_are_the_schedules_levels(schedule):
    count = schedule.timesteps
    times = torch.arange(1, count + 1, dtype=torch.float64) * schedule.t_max / count
    levels = schedule.alpha_sigma(times)[0] ** 2
    betas = torch.tensor(table_betas(schedule), dtype=torch.float64)
    torch.testing.assert_close((1 - betas).cumprod(0), levels, rtol=1e-9, atol=1e-12)
    theirs = DDIMScheduler(count, **table_config(schedule)).alphas_cumprod
    torch.testing.assert_close(theirs, levels.float(), rtol=0, atol=1e-5)
