"""Statistics that losses record: merged after each update, over the parts of a batch and the processes."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from fastdiff.core.statistics import RunningStatistics
from fastdiff.methods.denoising import Denoising
from tests.helpers.processes import together
from tests.helpers.tiny_training import finish, training


class Tally(RunningStatistics):
    """The sum of what was recorded and how often it was absorbed; both are saved, what is pending is not."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("absorbed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("pending", torch.zeros((), dtype=torch.float64), persistent=False)

    def absorb(self, reduce):
        self.total += reduce(self.pending)
        self.absorbed += 1
        self.pending.zero_()


@dataclass
class Counted(Denoising):
    """Denoising in two turns that adds up the coordinates of its examples."""

    seen: list = field(default_factory=list)

    def trainable_networks(self, student, teacher):
        return {"tally": Tally()}

    def turns(self, progress):
        return ("student",), ("student",)

    def loss(self, turn, nets, batch, progress):
        self.seen.append((float(nets["tally"].total), float(nets["tally"].absorbed)))
        nets["tally"].pending += batch.x0.double().sum()
        return super().loss(turn, nets, batch, progress)


def counted(folder, accumulate):
    method = Counted()
    run = training(folder, method, steps=6, gradient_accumulation=accumulate)
    finish(run)
    return run.tensors(), method.seen


def test_statistics_are_absorbed_once_an_update_and_saved(tmp_path):
    (whole, seen), (parts, seen_in_parts) = (counted(tmp_path / str(k), k) for k in (1, 2))
    assert int(whole["tally.absorbed"]) == int(parts["tally.absorbed"]) == 2 * 6
    assert "tally.pending" not in whole
    torch.testing.assert_close(whole["tally.total"], parts["tally.total"], rtol=1e-9, atol=0)
    assert seen_in_parts[::2] == seen_in_parts[1::2]  # not between the parts of a batch
    assert [count for _, count in seen] == list(range(12))
    resumed = training(tmp_path / "1", Counted(), steps=6)
    assert resumed.step == 6 and torch.equal(resumed.tensors()["tally.total"], whole["tally.total"])


def main(out):
    """One process's part of the test below."""
    tensors, _ = counted(Path(out) / "run", 1)
    if Accelerator(cpu=True).is_main_process:
        torch.save(tensors, Path(out) / "tensors.pt")


def test_statistics_of_two_processes_are_those_of_one(tmp_path):
    alone, _ = counted(tmp_path / "alone", 1)
    together(tmp_path, 2, "tests.training.test_learner", tmp_path)
    shared = torch.load(tmp_path / "tensors.pt")
    assert torch.equal(shared["tally.absorbed"], alone["tally.absorbed"])
    torch.testing.assert_close(shared["tally.total"], alone["tally.total"], rtol=1e-9, atol=0)
