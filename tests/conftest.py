"""One thread a process: small tensors are slower on two, and several tests start processes of their own.
And commands."""

import fcntl
import logging
import os
import resource
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from huggingface_hub import constants

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Of several workers, those that run what is marked alone, for it times things,
    run it while no other runs anything."""
    with ExitStack() as held:
        if hasattr(item.config, "workerinput"):
            shared = (
                item.config._tmp_path_factory.getbasetemp().parent
            )  # every worker has a folder of its own in it
            gate, room = (held.enter_context((shared / name).open("w")) for name in ("gate", "room"))
            fcntl.flock(gate, fcntl.LOCK_EX)  # who waits in it lets nobody else begin
            fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Nothing that a test computes of a data set is left in the user's cache, nor taken from it."""
    os.environ["FASTDIFF_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def quiet_settings_restored():
    """main() silences libraries for the process; tests share one."""
    with warnings.catch_warnings():
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def little_memory():
    """Whatever a test is sent, the process must not take two gigabytes more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits as images (1797, 1, 8, 8) in [-1, 1], and their labels."""
    import torch
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    return torch.tensor(raw, dtype=torch.float32).view(-1, 1, 8, 8) / 16 * 2 - 1, torch.tensor(labels)


@pytest.fixture(scope="module")
def extractor():
    """The shipped network of digit features."""
    from fastdiff.evaluation.metrics.extractors import open_extractor

    return open_extractor("checkpoints/digits/features", "cpu")


@pytest.fixture
def fastdiff(monkeypatch, capsys):
    """Runs a command in this process: fastdiff("list", "samplers") -> exit code, standard output,
    standard error."""
    from fastdiff.cli import app as cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fastdiff", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(fastdiff):
    """The one line with which a command is refused."""

    def run(*words):
        code, out, err = fastdiff(*words)
        assert (
            code == 2
            and err.count("\n") == 1
            and err.startswith("fastdiff: ")
            and "Traceback" not in out + err
        )
        return err

    return run


@pytest.fixture(scope="module")
def net():
    """A small network of three numbers that is not zero."""
    import torch

    from fastdiff.networks import mlp

    torch.manual_seed(0)
    net = mlp((3,), width=16, depth=1)
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened("sd") -> a tiny pipeline of diffusers, our model of its folder, and the folder; made once."""
    from tests.helpers.opened_pipelines import opener

    return opener(tmp_path_factory)


@pytest.fixture
def hub_cache(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"
