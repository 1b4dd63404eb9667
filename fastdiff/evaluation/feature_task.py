"""The tasks by which a feature network learns: to distinguish the data's classes, or rotations of images.

Where the data have no classes, the network learns by how many quarter turns an image is rotated (Gidaris et
al. 2018, "Unsupervised representation learning by predicting image rotations"). Images that are not square
are turned by half a turn only.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import LongTensor, Tensor

from ..data.registry import Dataset
from ..networks.classifiers import PictureFeatures

PART = 500  # images per pass when the accuracy is measured


class Task(NamedTuple):
    """A classification that a feature network learns.

    Args:
        name: "classes" or "rotations".
        kinds: number of classes, or of rotations.
        turns: quarter turns between two rotations; 0 for classes.
    """

    name: Literal["classes", "rotations"]
    kinds: int
    turns: int = 0

    @classmethod
    def of(cls, dataset: Dataset) -> "Task":
        """Return the task for a data set: its classes if there are at least two, else rotations."""
        if dataset.labels is not None and dataset.classes > 1:
            return cls("classes", dataset.classes)
        _, height, width = dataset.shape
        return cls("rotations", 4, 1) if height == width else cls("rotations", 2, 2)

    @property
    def described(self) -> str:
        """A description of the task, a phrase."""
        return f"{self.kinds} {self.name}"

    def posed(
        self, images: Tensor, labels: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, LongTensor]:
        """Return images as the network sees them, and the classes (n,) that it has to find."""
        if not self.turns:
            return images, labels
        kinds = torch.randint(0, self.kinds, (len(images),), generator=generator)
        return self.rotated(images, kinds), kinds

    def rotated(self, images: Tensor, kinds: LongTensor) -> Tensor:
        """Return images, each turned `turns` times the number of quarters in `kinds` (n,)."""
        turned = images.clone()
        for kind in range(1, self.kinds):
            turned[kinds == kind] = images[kinds == kind].rot90(self.turns * kind, (2, 3))
        return turned

    @torch.no_grad()
    def accuracy(
        self, net: PictureFeatures, test: Dataset, device: torch.device | str
    ) -> tuple[float, float]:
        """Return the accuracy on test images, from 0 to 1, and that of always naming the commonest class."""
        right = [
            net(images.to(device))[1].argmax(1).cpu() == targets for images, targets in self.questions(test)
        ]
        usual = 1 / self.kinds if self.turns else test.labels.bincount().max().item() / len(test)
        return torch.cat(right).float().mean().item(), usual

    def questions(self, test: Dataset) -> Iterator[tuple[Tensor, LongTensor]]:
        """Yield the test images with their classes, or each in every rotation, in parts."""
        for rows in torch.arange(len(test)).split(PART):
            if not self.turns:
                yield test.examples[rows], test.labels[rows]
            for kind in range(self.kinds if self.turns else 0):
                kinds = torch.full((len(rows),), kind)
                yield self.rotated(test.examples[rows], kinds), kinds
