"""What the tests of efficiency run: seconds of training and of sampling with the shipped teacher of the
digits."""

import json
import tempfile
import time
from pathlib import Path

from accelerate import Accelerator

from fastdiff.data.toys import digits
from fastdiff.io.load import load
from fastdiff.methods import METHODS, Progress
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training

STEPS, N = 20, 768


def training(accelerator, meet):
    """Seconds of so many steps, all processes together."""
    model = load("checkpoints/digits/teacher")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            steps=STEPS + 3, batch=256, log_every=10**6, save_every=10**6, save_minutes=10**6
        )
        run = Training(
            METHODS["denoising"](), Progress, model, None, digits(), config, Path(folder), accelerator
        )
        for _ in range(3):
            run.advance()
        accelerator.wait_for_everyone()
        meet()
        start = time.perf_counter()
        for _ in range(STEPS):
            run.advance()
        accelerator.wait_for_everyone()
        return time.perf_counter() - start


def sampling(accelerator, meet):
    """Seconds of N samples by ten steps of DDIM, all processes together."""
    model, share = load("checkpoints/digits/teacher"), (accelerator.process_index, accelerator.num_processes)
    sample(model, "ddim", steps=1, n=N, batch=128, shard=share)
    accelerator.wait_for_everyone()
    meet()
    start = time.perf_counter()
    sample(model, "ddim", steps=10, n=N, batch=128, shard=share)
    accelerator.wait_for_everyone()
    return time.perf_counter() - start


def main(out, beside=None):
    """The seconds of both, written by the first process. beside:
    the out of a process to start each together with."""
    accelerator, found = Accelerator(cpu=True), {}
    for work in (training, sampling):
        found[work.__name__] = work(accelerator, lambda work=work: meeting(work.__name__, out, beside))
    if accelerator.is_main_process:
        Path(out).write_text(json.dumps(found))


def meeting(what, out, beside):
    """Wait for another process at the same place, if there is one."""
    if beside:
        Path(f"{out}-{what}").touch()
        while not Path(f"{beside}-{what}").exists():
            time.sleep(0.001)
