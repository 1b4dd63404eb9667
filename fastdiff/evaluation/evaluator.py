"""Evaluators: metrics of samples in the features of one network, streamed and reduced over processes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..data.registry import Dataset
from .metrics import METRICS
from .metrics.extractors import Extractor, Vectors
from .metrics.frechet import Statistics
from .metrics.kernels import Discrepancy
from .metrics.pixels import Pixels
from .metrics.registry import Collected, kid_of_subsets
from .reference import Reference, reduced

FOLDS = 4  # disjoint parts of the samples, from which a Frechet distance is extrapolated to n = inf

Part = tuple[Tensor, dict[str, Tensor], Tensor | None]  # indices (n,), features by layer, labels (n,)


class Figures(NamedTuple):
    """The metrics of a set of samples.

    Args:
        values: values by the name of the metric; inf if a sample was not finite.
        terms: first-order terms of the kernel distances, one for each sample, for paired comparisons.
        broken: indices of the samples that were not finite.
    """

    values: dict[str, float]
    terms: dict[str, Tensor]
    broken: list[int]


class Evaluator:
    """An evaluator of generated samples against a whole data set: `add` samples, then call `result`.

    Args:
        dataset: data set that the samples are compared with.
        extractor: feature network.
        metrics: keys of METRICS.
        cache: folder in which the features of the data are cached.

    Raises:
        FastdiffError: if the data set has too few examples for one of the metrics.
    """

    def __init__(
        self,
        dataset: Dataset,
        extractor: Extractor | Pixels | Vectors,
        metrics: Sequence[str],
        cache: Path,
    ) -> None:
        self.dataset = dataset
        self.net = extractor
        self.metrics = tuple(metrics)
        self.extractor = str(extractor)
        families = [METRICS[metric] for metric in metrics]
        self.statistics = sorted({family.statistics for family in families} - {None})
        self.kept = sorted({family.kept for family in families} - {None})
        self.least = max(family.least for family in families)
        if len(dataset) < self.least:
            plural = "" if len(dataset) == 1 else "s"
            raise FastdiffError(
                f"data {dataset.name}: {len(dataset)} example{plural}: expected at least {self.least} as "
                f"the reference of {', '.join(metrics)}, and far more for a meaningful value"
            )
        self._real = Reference(dataset, extractor, self.statistics, self.kept, cache)
        self._restart()

    @property
    def reference(self) -> str:
        """The fingerprints of the data and of the feature network's weights."""
        return self._real.name

    @property
    def examples(self) -> LongTensor:
        """The indices (m,) of the examples of the data set that samples are compared with."""
        return self._real.examples()

    @property
    def dims(self) -> int:
        """The dimension of the features; 0 before the first result."""
        return self._real.dims

    def _restart(self) -> None:
        self._sums: dict[str, list[Statistics]] = {}  # by layer, one for each fold
        self._parts: list[Part] = []
        self._broken: list[int] = []

    def add(
        self, indices: Tensor, samples: Tensor, labels: Tensor | None = None, folds: Tensor | None = None
    ) -> None:
        """Add samples; each process adds its own part.

        Args:
            indices: indices (n,) of the samples.
            samples: samples (n, *shape); images in [-1, 1].
            labels: class (n,) that each sample was drawn for.
            folds: fold (n,) of each sample, see `folds_by_class`. None: by index.
        """
        folds = indices % FOLDS if folds is None else folds
        broken = ~samples.isfinite().flatten(1).all(1)
        self._broken += indices[broken.cpu()].tolist()
        # the network gets zeros in their place; `result` reports them
        layers = self.net(samples.masked_fill(broken.view(-1, *[1] * (samples.ndim - 1)), 0))
        for layer in self.statistics:
            dims = layers[layer].shape[1]
            sums = self._sums.setdefault(layer, [Statistics(dims) for _ in range(FOLDS)])
            for fold in range(FOLDS):
                sums[fold].add(layers[layer][(folds == fold).to(layers[layer].device)])
        kept = {layer: layers[layer].cpu() for layer in self.kept}
        self._parts.append((indices.cpu(), kept, None if labels is None else labels.cpu()))

    def result(self, accelerator: Accelerator, held_out: bool = False) -> Figures:
        """Return the metrics of all samples that were added on any process since the last call.

        Args:
            accelerator: accelerator of this process.
            held_out: the samples are examples of the data, their indices the places in `examples`: compare
                them with the examples without them.

        Returns:
            The metrics, the same on every process.

        Raises:
            FastdiffError: for too few samples, and for data that cannot be a reference.
        """
        real = self._real.collected(accelerator)
        sums = {
            layer: [reduced(one, accelerator) for one in self._folds(layer, real)]
            for layer in self.statistics
        }
        parts = gather_object(self._parts)
        broken = sorted(gather_object(self._broken))
        self._restart()
        found: list[Figures | FastdiffError | None] = [None]
        if accelerator.is_main_process:
            try:
                found = [self._figures(parts, sums, real, broken, held_out)]
            except FastdiffError as error:
                found = [error]
        broadcast_object_list(found)
        if isinstance(found[0], FastdiffError):
            raise found[0]
        return found[0]

    def _figures(
        self,
        parts: list[Part],
        sums: dict[str, list[Statistics]],
        real: Collected,
        broken: list[int],
        held_out: bool,
    ) -> Figures:
        """Compute the metrics of all processes' samples."""
        count = sum(len(indices) for indices, _, _ in parts)
        if count < self.least:
            named = ", ".join(self.metrics)
            raise FastdiffError(
                f"n = {count}: expected at least {self.least} samples for the metrics {named}"
            )
        made = self._in_order(parts, sums)
        if held_out:
            real = real.without(made, torch.cat([indices for indices, _, _ in parts]))
        values: dict[str, float] = {}
        terms: dict[str, Tensor] = {}
        for metric in self.metrics:
            for family, value in METRICS[metric].of(made, real).items():
                name = self._named(family)
                if isinstance(value, Discrepancy):
                    values[name] = value.value
                    values[f"{name}_se"] = value.error
                    terms[f"{name}.generated"] = value.x_terms
                    terms[f"{name}.reference"] = value.y_terms
                elif value is not None:
                    values[name] = value
        if "kid" in values:  # the KID of the literature, as in torch-fidelity: the mean over random subsets
            values["kid"] = kid_of_subsets(made.kept["features"], real.kept["features"])
        if broken:  # the network got zeros in their place: such values are meaningless
            values = dict.fromkeys(values, math.inf)
            terms = {}
        return Figures(values, terms, broken)

    def _named(self, family: str) -> str:
        """Return the key of a metric in this network's features: fd_inf -> fd_digits_inf."""
        base, _, companion = family.partition("_")
        name = self.net.named(base)
        return f"{name}_{companion}" if companion else name

    def _in_order(self, parts: list[Part], sums: dict[str, list[Statistics]]) -> Collected:
        """Return the samples of all parts in the order of their indices."""
        order = torch.cat([indices for indices, _, _ in parts]).argsort()
        kept: dict[str, Tensor] = {}
        for layer in self.kept:
            features = torch.cat([features[layer] for _, features, _ in parts])
            kept[layer] = features[order].to(self.net.device)
        unlabelled = parts[0][2] is None
        labels = None if unlabelled else torch.cat([labels for _, _, labels in parts])[order]
        return Collected(sums, kept, labels)

    def _folds(self, layer: str, real: Collected) -> list[Statistics]:
        """Return the statistics of this process by fold; zeros if it had no samples."""
        dims = len(real.statistics[layer][0].sum)
        return self._sums.get(layer) or [Statistics(dims) for _ in range(FOLDS)]


def folds_by_class(labels: Tensor) -> LongTensor:
    """Divide samples into FOLDS folds that have the classes in the same fractions as all samples.

    Samples by class have nearly the data's fractions: classes that vary between the folds would add to the
    distance of a fold but not to that of the whole, and the extrapolation would be too low.

    Args:
        labels: class (n,) of each sample.

    Returns:
        The fold (n,) of each sample, from 0 to FOLDS - 1.
    """
    folds = torch.empty(len(labels), dtype=torch.long)
    folds[labels.cpu().argsort(stable=True)] = torch.arange(len(labels)) % FOLDS
    return folds
