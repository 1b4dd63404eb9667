"""What the test of efficiency runs: training and sampling with the teacher of the digits, by turns."""

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

BATCH, N = 256, 256  # the images per process of a turn
TURNS = 44  # at most


def training(accelerator, folder):
    """Returns a turn of training: a step of BATCH images per process."""
    model = load("checkpoints/digits/teacher")
    config = TrainConfig(
        steps=TURNS + 1,
        batch=BATCH * accelerator.num_processes,
        log_every=10**6,
        save_every=10**6,
        save_minutes=10**6,
    )
    run = Training(METHODS["denoising"](), Progress, model, None, digits(), config, folder, accelerator)
    return run.advance


def sampling(accelerator, folder):
    """Returns a turn of sampling: N samples per process by five steps of DDIM."""
    model, share = load("checkpoints/digits/teacher"), (accelerator.process_index, accelerator.num_processes)
    n = N * accelerator.num_processes
    return lambda: sample(model, "ddim", steps=5, n=n, batch=128, shard=share)


WORK = {"training": training, "sampling": sampling}


def main(name, place):
    """Do each turn once the file `go-WORK-TURN-NAME` is in the folder `place`, and write its seconds.

    The file `stop-WORK` ends the turns of a kind of work.
    """
    accelerator, place = Accelerator(cpu=True), Path(place)
    file = f"{name}-{accelerator.process_index}"
    for what, prepare in WORK.items():
        with tempfile.TemporaryDirectory() as folder:
            turn = prepare(accelerator, Path(folder))
            turn()  # the first pays for what is made late
            for k in range(TURNS):
                if await_file(place / f"go-{what}-{k}-{name}", place / f"stop-{what}").name == f"stop-{what}":
                    break
                start = time.perf_counter()
                turn()
                accelerator.wait_for_everyone()
                write(place / f"done-{what}-{k}-{file}", time.perf_counter() - start)


def await_file(*paths, limit=300):
    """Wait until one of the files is there, and return it; raises TimeoutError after `limit` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        for path in paths:
            if path.exists():
                return path
        time.sleep(0.001)
    raise TimeoutError(f"{paths[0].name} did not come in {limit} s")


def write(path, seconds):
    """Write the seconds, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(str(seconds))
    new.rename(path)
