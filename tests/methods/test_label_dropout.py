"""The dropout of conditions: which examples lose theirs, and when none can."""

import torch

from fastdiff.core.schedule import Flow
from fastdiff.methods.label_dropout import drop_labels
from tests.helpers.oracles import batch_of, told

LABELS = torch.arange(4000) % 3


def student(null_label):
    model = told(lambda x, t, s: torch.zeros_like(x), Flow(), "velocity")
    model.net.null_label = null_label
    return model


def labelled():
    return batch_of(torch.zeros(4000, 2).double(), cond={"label": LABELS})


def test_examples_lose_their_labels_in_their_share():
    batch = labelled()
    cond, drop = drop_labels(student(3), batch, 0.3)
    assert torch.equal(cond["label"], torch.where(drop, 3, LABELS))
    assert abs(drop.double().mean() - 0.3) < 4 * (0.21 / 4000) ** 0.5
    assert torch.equal(batch.cond["label"], LABELS)
    cond, drop = drop_labels(student(3), batch, 1.0)
    assert drop.all() and (cond["label"] == 3).all()


def test_without_a_share_labels_or_a_null_class_nothing_is_drawn():
    for model, make, share in (
        (student(3), labelled, 0.0),
        (student(None), labelled, 0.5),
        (student(3), lambda: batch_of(torch.zeros(4, 2)), 0.5),
    ):
        batch, untouched = make(), make()
        assert drop_labels(model, batch, share) == (batch.cond, None)
        assert torch.equal(batch.rng.uniform(), untouched.rng.uniform())
