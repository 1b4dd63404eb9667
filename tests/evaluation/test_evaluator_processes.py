"""Two processes share an evaluation and agree with one."""

import json
import math
import os
import socket

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from fastdiff.evaluation.metrics.frechet import frechet_distance
from fastdiff.evaluation.opening import open_evaluators
from tests.helpers.evaluated import data, judged, statistics


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def evaluate_on_rank(rank, port, folder, images, vectors):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    AcceleratorState._reset_state(reset_partial_state=True)  # nor should the parent's single process
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    out = {}
    for real, samples in ((data(images[:300]), images[300:]), (data(vectors, name="toy"), vectors[:150] + 1)):
        [evaluator] = open_evaluators(real, None, None, "cpu", folder)
        for indices in torch.arange(len(samples)).split(50)[rank::2]:  # three batches: two here, one there
            evaluator.add(indices, samples[indices])
        out |= evaluator.result(accelerator).values
        broken = torch.full((1, *real.shape), math.nan)
        for i in range(rank, 8, 2):  # one process's sample, known to both
            evaluator.add(torch.tensor([i]), broken if i == 5 else samples[i : i + 1])
        found = evaluator.result(accelerator)
        assert found.broken == [5] and set(found.values.values()) == {math.inf}
    (folder / f"rank{rank}.json").write_text(json.dumps(out))
    accelerator.end_training()  # ends the process group too


def test_two_processes_agree_with_one(digits, extractor, accelerator, tmp_path):
    images, vectors = digits[0][:450], torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = port, tmp_path, images, vectors
    torch.multiprocessing.start_processes(
        evaluate_on_rank, args, nprocs=2, start_method="fork"
    )  # imports once
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    alone = {}
    for real, samples in ((data(images[:300]), images[300:]), (data(vectors, name="toy"), vectors[:150] + 1)):
        [evaluator] = open_evaluators(real, None, None, "cpu", tmp_path / "other")
        alone |= judged(evaluator, samples, accelerator).values
    assert ranks[0] == pytest.approx(alone, rel=1e-4)
    fd = frechet_distance(
        statistics(extractor(images[300:])["features"]), statistics(extractor(images[:300])["features"])
    )
    assert alone["fd_digits"] == pytest.approx(fd, rel=1e-6)
    assert len(list(tmp_path.glob("digits-*statistics.safetensors"))) == 1
