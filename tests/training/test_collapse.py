"""A collapse of the samples and a discriminator at chance, by the latest lines of the second half."""

from dataclasses import dataclass
from statistics import median

import pytest
import torch

from fastdiff.methods.denoising import Denoising
from tests.helpers.tiny_training import finish, training

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Fading(Denoising):
    """Denoising whose samples are said to cover less and less of the data."""

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return loss, logs | {"coverage": torch.tensor(1 - 0.75 * progress.fraction)}


def test_a_collapse_is_the_median_coverage_of_the_latest_lines_of_the_second_half(tmp_path):
    settings = {"steps": 40, "log_every": 1, "save_every": 33}
    seen = {
        step: run.health.collapsed
        for run in [training(tmp_path / "a", Fading(), **settings)]
        for step, _ in run
    }
    for step, found in seen.items():
        shares = sorted(1 - 0.75 * (k - 1) / 40 for k in range(max(21, step - 9), step + 1))
        wanted = (shares[len(shares) // 2] + shares[(len(shares) - 1) // 2]) / 2 if shares else 1.0
        assert found == (pytest.approx(wanted) if wanted < 0.5 else None), step
    assert seen[20] is None and 0.25 < seen[40] < 0.5
    for step, _ in training(tmp_path / "b", Fading(), **settings):
        if step == 36:
            break
    resumed = training(tmp_path / "b", Fading(), **settings)
    assert resumed.step == 33 and resumed.health.collapsed == seen[33]
    finish(resumed)
    assert (
        resumed.health.collapsed
        == seen[40]
        == training(tmp_path / "a", Fading(), **settings).health.collapsed
    )


@dataclass
class Guessing(Denoising):
    """Denoising whose discriminator is said to distinguish less and less."""

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return loss, logs | {"discriminator_auc": torch.tensor(0.8 - 0.4 * progress.fraction)}


def test_a_discriminator_is_at_chance_by_the_median_of_the_latest_lines(tmp_path):
    settings = {"steps": 24, "log_every": 1, "save_every": 18}
    run = training(tmp_path / "a", Guessing(), **settings)
    seen = {step: run.health.chance_auc for step, _ in run}
    for step, found in seen.items():
        late = [0.8 - 0.4 * (k - 1) / 24 for k in range(max(13, step - 9), step + 1)]
        wanted = median(late) if late else 1.0
        assert found == (pytest.approx(wanted) if wanted < 0.55 else None), step
    assert seen[12] is None is seen[16] and 0.4 < seen[24] < 0.55
    for step, _ in training(tmp_path / "b", Guessing(), **settings):
        if step == 20:
            break
    assert training(tmp_path / "b", Guessing(), **settings).health.chance_auc == seen[18]
