"""The training page's blocks for two machines, run as they are printed, with stand-ins for Slurm's commands
and two processes here."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdiff.training.checkpoint import states
from tests.helpers.paths import ROOT

PAGE = (ROOT / "fastdiff/training/README.md").read_text()
RECIPE = """
name: slurm
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 600, batch: 64, save_every: 550, log_every: 25}
stages: {teacher: {method: denoising}}
bench: {steps: [1], baselines: [], n: 64}
"""
# srun starts a task a machine; here both "machines" are this one. scancel sends a signal to all tasks.
SLURM = {
    "srun": 'for rank in 0 1; do SLURM_NODEID=$rank "$@" & echo $! >> tasks; done; wait',
    "scancel": '[ "$1 $2" = "--signal=TERM 7" ] && kill -TERM $(cat tasks); rm tasks',
    "scontrol": '[ "$1" = requeue ] && echo "$2" >> requeued || echo localhost',
}


@pytest.fixture
def job(tmp_path):
    """Starts the script in a folder of its own, as Slurm would; returns the process."""
    blocks = re.findall(r"```(?:bash|yaml)\n(.*?)```", PAGE, re.S)
    [script], [config] = (
        [block for block in blocks if mark in block] for mark in ("#SBATCH", "num_machines")
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (
        "num_processes: 16" in config
        and "main_process_port: 29500" in config
        and "recipes/digits.yaml" in script
    )
    config = config.replace("num_processes: 16", "num_processes: 2").replace("29500", str(port))
    (tmp_path / "two-nodes.yaml").write_text(config)
    (tmp_path / "job.sh").write_text(script.replace("recipes/digits.yaml", "slurm.yaml --out out"))
    (tmp_path / "slurm.yaml").write_text(RECIPE)
    (tmp_path / "bin").mkdir()
    for name, body in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "here",
        "OMP_NUM_THREADS": "1",
    }

    def start():
        return subprocess.Popen(
            ["bash", "job.sh"],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


@pytest.mark.long
def test_the_slurm_script_saves_queues_itself_again_and_ends(job, tmp_path):
    first, log = job(), tmp_path / "out/teacher/log.jsonl"
    while not (log.exists() and '"step": 100,' in log.read_text()):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    first.send_signal(signal.SIGUSR1)
    printed = first.communicate(timeout=120)[0]
    assert (tmp_path / "requeued").read_text() == "7\n", printed
    [state] = states(tmp_path / "out/teacher/state")
    assert 100 <= int(state.name) < 550 and "saved at step" in printed
    again = job()
    printed = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and (tmp_path / "out/report.html").exists(), printed
    assert (tmp_path / "requeued").read_text() == "7\n"  # done is done
    assert log.read_text().count('"step": 100,') == 1
