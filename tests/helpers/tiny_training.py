"""A tiny training on the toy, and what is read off it."""

import json
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Flow
from fastdiff.data.toys import toy
from fastdiff.methods import Progress
from fastdiff.methods.base import Method
from fastdiff.methods.denoising import Denoising
from fastdiff.networks import MLP
from fastdiff.training.loop import TrainConfig, Training

DATA = toy(n=300)


def tiny(seed=0):
    torch.manual_seed(seed)
    return Denoiser(MLP(2, 16, 1), Flow(), "velocity", (2,))


def training(folder, method=None, student=None, data=DATA, **settings):
    config = TrainConfig(**{"steps": 20, "batch": 32, "save_every": 5, "log_every": 5} | settings)
    return Training(
        method or Denoising(), Progress, student or tiny(), None, data, config, folder, Accelerator(cpu=True)
    )


def weights_of(run):
    """By role, all that is trained."""
    return {name: role.weights for name, role in run.roles.items()}


def finish(run):
    return [logs for _, logs in run]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@dataclass
class Duel(Method):
    """Student and discriminator in turns, each loss through both networks."""

    both: bool = False

    def trainable_networks(self, student, teacher):
        torch.manual_seed(1)
        return {"discriminator": nn.Linear(2, 1)}

    def target_emas(self):
        return {"slow": lambda progress: 0.5}

    def turns(self, progress):
        return (("student", "discriminator"),) if self.both else (("student",), ("discriminator",))

    def loss(self, turn, nets, batch, progress):
        t = batch.rng.uniform()
        value = (
            nets["discriminator"](nets["student"](batch.x0, t, t).x0).mean()
            - nets["slow"](batch.x0, t, t).x0.mean()
        )
        self.__dict__.setdefault("seen", []).append((turn, nets))
        return (value - 1).square(), {"value": value}


@dataclass
class Spoilt(Denoising):
    """Denoising whose step number `at` (counted from 1) goes wrong in one way."""

    at: int = 0
    how: str = "loss"

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        if progress.step + 1 != self.at or (self.how == "first part" and progress.images % 32):
            return loss, logs
        if self.how == "gradient":  # a root at zero: finite, with an infinite slope
            return loss + (0 * sum(p.sum() for p in nets["student"].parameters())).square().sqrt(), logs
        return loss * float("nan"), logs


@dataclass
class Ill(Denoising):
    """Denoising whose loss is not finite at some steps (counted from 1)."""

    at: tuple[int, ...] = ()

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return (loss * float("nan") if progress.step + 1 in self.at else loss), logs
