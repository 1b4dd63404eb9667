"""Tiny models of points, and a benchmark of them."""

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.config import BenchConfig
from fastdiff.io.export.model import export
from fastdiff.networks import mlp

CONFIG = BenchConfig(steps=(1, 2), baselines=("ddpm:3", "dpmpp_2m/karras:2"), n=12, seeds=(0, 1), batch=5)


COLUMNS = {
    "key",
    "model",
    "method",
    "sampler",
    "spacing",
    "steps",
    "nfe",
    "guidance",
    "clip",
    "seed",
    "n",
    "energy",
    "ms_per_image",
    "images_per_s",
    "peak_mb",
    "params",
    "extractor",
    "reference",
    "ema",
    "device",
    "processes",
    "versions",
    "commit",
    "time",
    "cell",
    "weights",
    "train_images",
    "train_seconds",
    "teacher_nfe",
    "energy_se",
    "swd",
    "precision",
    "recall",
    "density",
    "coverage",
    "nearest",
    "diversity",
    "metrics",
    "dims",
    "batch",
    "flops_per_image",
    "teacher",
}


def model(seed: int = 0, sampling: Sampling | None = None, classes: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    net = mlp((2,), classes, width=8, depth=1)
    torch.nn.init.normal_(net.last.weight)
    return Denoiser(net, Cosine(), "v", (2,), sampling=sampling or Sampling()).eval()


def stored(folder, made: Denoiser, method: str):
    folder.mkdir(parents=True, exist_ok=True)
    cost = {"images": 640, "seconds": 1.5, "teacher_nfe": 1280}
    export(made, folder, {"method": method, "origin": {}, "ema": 0.9, "cost": cost})
    return folder
