"""The documented example of the package works as it is shown."""

import pytest
import torch

import fastdiff
from fastdiff.core.sampling import Sampling
from fastdiff.networks import mlp
from tests.helpers.swept import model, stored


def test_the_documented_example(tmp_path, toy):
    teacher_path = stored(tmp_path / "checkpoints/toy/teacher", model(), "denoising")
    student_path = stored(
        tmp_path / "checkpoints/toy/student", model(1, Sampling("consistency", "uniform", (2, 4))), "ect"
    )
    net, schedule = mlp((2,), 0, width=8, depth=1), fastdiff.SCHEDULES["cosine"]()

    loaded = fastdiff.load(str(teacher_path))
    assert isinstance(loaded, fastdiff.Denoiser)
    images = fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0)
    assert images.shape == (6, 2) and images.is_floating_point() and images.isfinite().all()
    assert torch.equal(
        images, fastdiff.sample(loaded, "ddim", steps=5, n=6, seed=0, spacing="uniform", batch=6, eta=0.0)
    )
    student = fastdiff.load(str(student_path))
    images = fastdiff.sample(student, steps=2, n=6, seed=0)
    assert torch.equal(images, fastdiff.sample(student, "consistency", steps=2, n=6, seed=0))
    grid = fastdiff.time_grid(loaded.schedule, 8, "trailing")
    assert len(grid) == 9 and grid[-1] == 0 and (grid.diff() < 0).all()
    bare = fastdiff.Denoiser(net, schedule, "v")
    denoise = fastdiff.Guided(bare, cond=None, guidance=1.0, clip=None)
    assert denoise.nfe == 0
    seen = []
    for state in fastdiff.SAMPLERS["ddim"](denoise, torch.randn(3, 2), grid):
        seen.append(state)
    assert (len(seen), denoise.nfe) == (8, 8) and seen[-1].t == 0 and torch.equal(seen[-1].x, seen[-1].x0)
    assert {"denoising", "progressive", "ect"} <= set(fastdiff.METHODS)
    assert set(fastdiff.SCHEDULES) == {"ddpm", "cosine", "sigmoid", "vp", "flow", "karras", "trig"}
    assert {"digits", "toy"} <= set(fastdiff.DATASETS)
    assert all(
        isinstance(names, dict)
        for names in (fastdiff.SAMPLERS, fastdiff.METHODS, fastdiff.SCHEDULES, fastdiff.DATASETS)
    )
    means, stds, weights = (
        torch.tensor([[-1.0, 0.0], [1.0, 0.0]]),
        torch.tensor([0.1, 0.1]),
        torch.tensor([0.5, 0.5]),
    )
    exact = fastdiff.networks.oracle.GaussianMixture(means, stds, weights, fastdiff.SCHEDULES["flow"]())
    drawn = fastdiff.sample(exact, "heun", steps=20, n=64, seed=0)
    assert ((drawn[:, None] - means).norm(dim=2).min(1).values < 0.6).all() and (
        drawn[:, 0] > 0
    ).float().mean() > 0.2
    points = fastdiff.networks.oracle.Points(means, schedule)
    nearest = torch.cdist(fastdiff.sample(points, "ddim", steps=20, n=8, seed=0), means).min(1).values
    assert (nearest < 1e-3).all()
    assert fastdiff.SCHEDULES["vp"](beta_max=15.0).beta_max == 15.0
    config = fastdiff.BenchConfig(steps=(2,), baselines=(), n=8)
    paths = {"teacher": teacher_path, "student": student_path}
    rows = fastdiff.sweep(paths, toy, config, tmp_path / "bench", teacher="teacher")
    assert [row["model"] for row in rows] == ["teacher", "student"]
    with pytest.raises(fastdiff.FastdiffError):
        fastdiff.load(str(tmp_path / "nosuch"))
    assert issubclass(fastdiff.FastdiffError, Exception)
