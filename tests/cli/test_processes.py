"""The processes of a command: which one prints, and a group that ends with it."""

import torch

from fastdiff.cli.processes import destroy_process_group, is_main_process


def test_the_first_process_of_a_launcher_prints_and_a_lone_one(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert is_main_process()
    for rank, first in (("0", True), ("1", False), ("12", False)):
        monkeypatch.setenv("RANK", rank)
        assert is_main_process() == first


def test_a_group_is_destroyed_and_without_one_nothing_happens(tmp_path):
    destroy_process_group()
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    destroy_process_group()
    assert not torch.distributed.is_initialized()
