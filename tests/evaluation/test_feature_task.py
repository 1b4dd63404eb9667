"""The tasks by which a feature network learns: classes where there are some, else rotations."""

import torch

from fastdiff.data.dataset import Dataset
from fastdiff.evaluation.feature_task import Task


def images(height=4, width=4, labels=None, classes=0):
    drawn = torch.arange(3 * height * width, dtype=torch.uint8).view(3, 1, height, width)
    return Dataset("x", drawn, labels, classes)


def test_classes_are_the_task_where_there_are_two():
    labels = torch.tensor([0, 1, 1])
    two = images(labels=labels, classes=2)
    assert Task.of(two).described == "2 classes"
    posed, targets = Task.of(two).posed(two.examples, labels, torch.Generator())
    assert posed is two.examples and targets is labels
    assert Task.of(images()).described == Task.of(images(labels=labels * 0, classes=1)).described
    assert (Task.of(images()).described, Task.of(images(4, 6)).described) == ("4 rotations", "2 rotations")


def test_images_are_turned_as_their_targets_say():
    square, oblong = images(), images(4, 6)
    quarter = Task.of(square).rotated(square.examples, torch.tensor([0, 1, 3]))
    for turned, image, turns in zip(quarter, square.examples, (0, 1, 3), strict=True):
        assert torch.equal(turned, image.rot90(turns, (1, 2)))
    half = Task.of(oblong).rotated(oblong.examples, torch.tensor([1, 0, 1]))
    assert torch.equal(half[0], oblong.examples[0].flip(1, 2)) and torch.equal(half[1], oblong.examples[1])


class Corner(torch.nn.Module):
    """A network that sees in which corner the largest pixel lies: the rotation of an image of `images`."""

    def forward(self, shown):
        corners = shown[:, 0, [-1, 0, 0, -1], [-1, -1, 0, 0]].float()
        return None, corners, None


def test_the_accuracy_is_that_of_all_rotations_or_of_the_classes():
    square = images()
    assert Task.of(square).accuracy(Corner(), square, "cpu") == (1.0, 0.25)
    labelled = images(labels=torch.tensor([0, 0, 3]), classes=4)
    right, usual = Task.of(labelled).accuracy(Corner(), labelled, "cpu")
    assert (round(3 * right), round(3 * usual)) == (2, 2)
