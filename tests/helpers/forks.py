"""Processes that are forks of one server, which pays for the imports once; and kills."""

import multiprocessing
import os
import signal
import sys
import time

import torch


def fork(target, *args):
    """target of the arguments in a process of its own, started."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["fastdiff.runs.run", "fastdiff.runs.recipe", "fastdiff.cli", "fastdiff.evaluation.report.plots"]
    )
    process = server.Process(target=target, args=args)
    process.start()
    return process


def command(said, *words):
    """What `python -m fastdiff` does with these words, on one thread; it prints into a file."""
    from fastdiff.cli import app as cli

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(said, "a", buffering=1)  # noqa: SIM115
    sys.argv = ["fastdiff", *map(str, words)]
    cli.main()


def kill_at(out, pattern, text):
    while not any(not text or text in path.read_text() for path in out.glob(pattern)):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
