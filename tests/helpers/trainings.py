"""What the tests of many processes run: trainings of tiny stages, each rank's weights written down."""

import json
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Flow
from fastdiff.data.toys import toy
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.base import per_sample, unwrap
from fastdiff.methods.denoising import Denoising
from fastdiff.networks import MLP
from fastdiff.networks.lora import Lora
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training
from fastdiff.training.placement import is_shard

DATA = toy(n=300)


class Duel(Denoising):
    """Two turns: a discriminator and a fake learn from what the student makes, which does not learn from
    that; then the student."""

    def trainable_networks(self, student, teacher):
        torch.manual_seed(1)
        return {"discriminator": nn.Linear(2, 1), "fake": made(2)}

    def target_emas(self):
        return {"slow": lambda progress: 0.9}

    def turns(self, progress):
        return ("discriminator", "fake"), ("student",)

    def loss(self, turn, nets, batch, progress):
        t = batch.rng.uniform()
        x = unwrap(nets["student"]).schedule.mix(batch.x0, batch.rng.normal(batch.x0.shape[1:]), t)
        said, aims = (nets[role](x, t, t, batch.cond).x0 for role in ("student", "teacher"))
        said = said if "student" in turn else nets["fake"](said, t, t, batch.cond).x0
        error = per_sample((said - aims).square()) + (
            nets["discriminator"](said) - nets["discriminator"](batch.x0)
        ).square().mean(1)
        return error.mean() if "student" in turn else -error.mean() + 2 * per_sample(
            (said - aims).square()
        ).mean(), {}


def made(seed):
    torch.manual_seed(seed)
    model = Denoiser(MLP(2, 16, 2), Flow(), "velocity", (2,))
    nn.init.normal_(model.net.last.weight, std=0.1)
    return model


def training(job, folder, accelerator):
    """A job: method (a name, or duel), its settings, those of the training."""
    method = Duel() if job["method"] == "duel" else METHODS[job["method"]](**job.get("settings", {}))
    student, teacher = method.student(made(0)), made(1).eval()
    settings = {"steps": 30, "batch": 32, "save_every": 30, "log_every": 30} | job.get("train", {})
    config = TrainConfig(**settings, lora=Lora(**job["lora"]) if "lora" in job else None)
    torch.manual_seed(2)
    return Training(method, Progress, student, teacher, DATA, config, folder, accelerator)


def train(job, folder, accelerator):
    """All that a training changes, and what this rank holds of it,
    after its last step or that of job["until"]."""
    run = training(job, folder, accelerator)
    for step, _ in run:
        if step == job.get("until"):
            break
    held = {
        f"{r}.{k}": v for r, n in run.nets().items() for k, v in n.state_dict().items() if not is_shard(v)
    }
    held |= {f"result.{k}": v for k, v in run.result().state_dict().items()}
    return run.tensors(), {name: value.clone() for name, value in held.items()}


def main(jobs, out):
    """All jobs of a file, one after another."""
    accelerator, out = Accelerator(cpu=True), Path(out)
    for name, job in json.loads(Path(jobs).read_text()).items():
        tensors, own = train(job, out / job.get("folder", name), accelerator)
        save_file(own, out / f"{name}-{accelerator.process_index}.safetensors")
        if accelerator.is_main_process:
            save_file({name: value.clone() for name, value in tensors.items()}, out / f"{name}.safetensors")
        accelerator.free_memory()
    accelerator.wait_for_everyone()
