"""Rows of real data: a benchmark's figures for examples of the data that its reference does not contain.

They say how close a perfect model would come. Where the data have one split, they are divided at random into
examples and a reference; where a held-out split is given, its examples are compared with the data.
"""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import LongTensor, Tensor

from ..core.files import identity
from ..data.registry import Dataset
from .budget import Budget
from .evaluator import FOLDS, Evaluator, folds_by_class
from .metric_names import FRECHET, family
from .provenance import provenance
from .reference import CHUNK
from .rows import RowStore
from .summary import COST_FIELDS, REAL, Row

DIVISIONS = 8  # random divisions of the data, each a row; at most that many disjoint sets of a held-out split


class RealData:
    """The rows of real data of a benchmark, planned but not yet measured.

    Args:
        dataset: data set that samples are compared with.
        held_out: examples of a held-out split; None to divide the data set.
        split: name of that split; None without one.
        evaluators: evaluators of the benchmark.
        n: number of samples per row of the benchmark.
        by_class: whether the models' samples have the classes of the data; the examples then have the same
            fractions of classes as the data.
    """

    def __init__(
        self,
        dataset: Dataset,
        held_out: Dataset | None,
        split: str | None,
        evaluators: list[Evaluator],
        n: int,
        by_class: bool,
    ) -> None:
        self.dataset = dataset
        self.held_out = held_out
        self.evaluators = evaluators
        self.n = n
        self.places = evaluators[0].examples if held_out is None else torch.arange(len(held_out))
        source = dataset if held_out is None else held_out
        self.labels = None if source.labels is None else source.labels[self.places]
        self.classes = self.labels if by_class else None
        total = len(self.places)
        size = min(n, total if held_out else total // 2)
        rest = len(evaluators[0].examples) - (0 if held_out else size)
        self.about = {
            "split": split,
            "examples": size,
            "reference": rest,
            "by_class": self.classes is not None,
        }
        count = DIVISIONS if held_out is None else max(1, min(DIVISIONS, total // max(1, size)))
        enough = size >= max(evaluator.least for evaluator in evaluators)
        self.divisions = range(count if enough else 0)  # none of data with too few examples

    @property
    def source(self) -> str:
        """The identity of the examples, in the place of a model's weights."""
        held_out = None if self.held_out is None else self.held_out.fingerprint
        return identity(held_out=held_out, **self.about)

    def rows(
        self, store: RowStore, budget: Budget, metrics: set[str], accelerator: Accelerator
    ) -> Iterator[Row]:
        """Measure and yield the rows that a file lacks; yield the others from the file.

        Args:
            store: the file of rows.
            budget: time budget of the benchmark.
            metrics: keys of METRICS that the rows must have.
            accelerator: accelerator of this process.
        """
        for division in self.divisions:
            settings = self.settings(division)
            key = identity(**settings)
            row = store.get(key)
            if store.missing(key, metrics):
                if not budget.allows(f"{REAL} {division}", 0, accelerator):
                    continue
                former = row or {}
                row = {
                    **former,
                    "key": key,
                    **settings,
                    **dict.fromkeys(COST_FIELDS),
                    **self.measure(division, accelerator),
                    "cell": "real",
                    "metrics": sorted(metrics.union(former.get("metrics", ()))),
                    "teacher": False,
                    **provenance({}, accelerator),
                }
            store.update(row)
            yield Row(row)

    def settings(self, division: int) -> Row:
        """Return the fields that determine the metrics of a row; its key is their `identity`."""
        unsampled = dict.fromkeys(("sampler", "spacing", "steps", "guidance", "clip"))
        comparable = self.held_out is None or self.about["examples"] == self.n
        return {
            "model": REAL,
            **unsampled,
            "seed": division,
            "n": self.n if comparable else self.about["examples"],
            "extractor": ",".join(evaluator.extractor for evaluator in self.evaluators),
            "reference": self.evaluators[0].reference,
            "weights": self.source,
        }

    def measure(self, division: int, accelerator: Accelerator) -> dict[str, Any]:
        """Return the metrics of the examples of a division, computed by all processes."""
        chosen = self.chosen(division)
        by_index = self.classes is None
        folds = chosen % FOLDS if by_index else folds_by_class(self.classes[chosen])
        own, folds = (x[accelerator.process_index :: accelerator.num_processes] for x in (chosen, folds))
        source = self.dataset if self.held_out is None else self.held_out
        found: dict[str, Any] = {}
        for evaluator in self.evaluators:
            for part, part_folds in zip(own.split(CHUNK), folds.split(CHUNK), strict=True):
                labels = None if self.labels is None else self.labels[part]
                evaluator.add(part, source.get(self.places[part])[0], labels, part_folds)
            values = evaluator.result(accelerator, held_out=self.held_out is None).values
            found |= values if self.held_out else self._at_n(values, evaluator.dims)
        return found | {"dims": self.evaluators[0].dims, "held_out": self.about}

    def chosen(self, division: int) -> LongTensor:
        """Return the places (examples,) of the examples of a division, in order.

        Divisions of the data are independent; those of a held-out split are disjoint.
        """
        size = self.about["examples"]
        if self.held_out is None:
            return spread(len(self.places), size, self.classes, division)
        count = len(self.divisions)
        return spread(len(self.places), count * size, self.classes, 0)[division::count]

    def _at_n(self, values: dict[str, Any], dims: int) -> dict[str, Any]:
        """Return values with the Frechet distances for n examples and the whole reference.

        The expected distance of two sets of one law is c (1 / a + 1 / b) for sets of a and b examples, far
        more than dimensions; without that many it is left out.
        """
        a, b = self.about["examples"], self.about["reference"]
        whole = a + b
        found: dict[str, Any] = {}
        for name, value in values.items():
            if family(name) not in FRECHET:
                found[name] = value
            elif not name.endswith("_inf") and min(a, b) > dims:
                c = value / (1 / a + 1 / b)
                found[name] = c * (1 / self.n + 1 / whole)
                found[f"{name}_inf"] = c / whole
        return found


def spread(total: int, size: int, classes: Tensor | None, seed: int) -> LongTensor:
    """Return `size` random places of `total`, in order; with classes in the same fractions as among all.

    Args:
        total: number of places.
        size: number of places to choose, at most `total`.
        classes: class (total,) of each place; None to choose without regard to classes.
        seed: seed of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(total, generator=generator)
    if classes is None:
        return order[:size].sort().values
    by_class = order[classes[order].argsort(stable=True)]
    offset = torch.rand(1, generator=generator, dtype=torch.float64)
    evenly = ((torch.arange(size, dtype=torch.float64) + offset) * total / size).long()
    return by_class[evenly.clamp(max=total - 1)].sort().values
