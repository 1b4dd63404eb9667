"""Pairs that tests store."""

from accelerate import Accelerator

from fastdiff.data.toys import toy
from fastdiff.training import pairs
from fastdiff.training.pairs import Pairs


def stored(folder, model, made=None, like=None, **settings):
    """The pairs of a model, as they are read back."""
    folder.mkdir(parents=True, exist_ok=True)
    made = made or Pairs(**settings)
    pairs.write(folder, made, model, {"who": "test"}, Accelerator(cpu=True), lambda done: None)
    return pairs.load_pairs(folder, like or toy(n=8))
