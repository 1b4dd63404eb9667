"""Several processes that work together, as torchrun starts them."""

import importlib
import os
import socket
import sys
from pathlib import Path

import torch

from tests.helpers.forks import fork


def together(folder, count, module, *words):
    """module.main of the words on so many processes of one thread, as torchrun starts them; what the first
    printed.

    torchrun itself starts those of test_signals.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [folder / f"said-{port}-{rank}.txt" for rank in range(count)]
    # As torchrun sets them; without the last two accelerate would give every process the threads of the whole
    # machine.
    same = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
    }
    environments = [same | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(count)] if count > 1 else [{}]
    processes = [
        fork(one, environment, path, module, [str(word) for word in words])
        for environment, path in zip(environments, said)
    ]
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * count, "\n".join(
        path.read_text() for path in said
    )
    return said[0].read_text()


def one(environment, said, module, words):
    """One of the processes."""
    os.environ |= {name: str(value) for name, value in environment.items()} | {"COLUMNS": "200"}
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.stdout = sys.stderr = open(said, "w", buffering=1)  # noqa: SIM115
    main = importlib.import_module(module).main
    if module == "fastdiff.cli":
        sys.argv, words = ["fastdiff", *words], ()
    try:
        main(*words)
    except SystemExit as stop:
        if stop.code:
            raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def distance(tensors, others):
    assert set(tensors) == set(others)
    return max(float((tensors[name] - others[name]).abs().max()) for name in tensors if ".step" not in name)
