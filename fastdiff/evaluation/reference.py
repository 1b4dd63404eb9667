"""References of metrics: features of a data set, computed once by all processes and cached on disk."""

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..data.registry import Dataset
from .metrics.extractors import Extractor, Vectors
from .metrics.frechet import Statistics
from .metrics.pixels import Pixels
from .metrics.registry import Collected

CHUNK = 512  # examples per pass

Tensors = dict[str, Tensor]  # the contents of a file


class Reference:
    """The features of a data set in one network, and their statistics.

    Args:
        dataset: data set.
        net: feature network.
        statistics: names of the layers whose statistics are needed.
        kept: names of the layers whose features are needed.
        cache: folder of the cached files, one for each layer and kind; need not be writable.
    """

    def __init__(
        self,
        dataset: Dataset,
        net: Extractor | Pixels | Vectors,
        statistics: Sequence[str],
        kept: Sequence[str],
        cache: Path,
    ) -> None:
        self.dataset = dataset
        self.net = net
        self.statistics = sorted(statistics)
        self.kept = sorted(kept)
        self.cache = Path(cache)
        self.dims = 0  # dimension of the features; 0 until they are loaded
        self._collected: Collected | None = None

    @property
    def name(self) -> str:
        """The fingerprints of the data and of the feature network's weights, as in rows and file names."""
        parts = [self.dataset.fingerprint, self.net.fingerprint]
        return "-".join(part for part in parts if part)

    def collected(self, accelerator: Accelerator) -> Collected:
        """Return the features: from the cache if every process has them, else computed by all processes.

        Raises:
            FastdiffError: if the data are not finite, or not images in [-1, 1].
        """
        if self._collected is None:
            sums = {layer: self._stored(layer, "statistics") for layer in self.statistics}
            kept = {layer: self._stored(layer, "features") for layer in self.kept}
            absent = [*sums.values(), *kept.values()].count(None)
            if accelerator.reduce(torch.tensor(absent, device=accelerator.device), "sum") > 0:
                sums, kept = self._compute(accelerator)
            self._collected = Collected(
                {layer: [Statistics.of(tensors)] for layer, tensors in sums.items()},
                {layer: tensors["features"].to(self.net.device) for layer, tensors in kept.items()},
            )
            sizes = [len(tensors["sum"]) for tensors in sums.values()]
            if "features" in kept:
                sizes.append(kept["features"]["features"].shape[1])
            self.dims = max(sizes, default=0)
        return self._collected

    def _compute(self, accelerator: Accelerator) -> tuple[dict[str, Tensors], dict[str, Tensors]]:
        """Compute and store the statistics and features by layer; the processes divide the data."""
        examples = self.examples()
        sums: dict[str, Statistics] = {}
        parts: list[tuple[Tensor, Tensors]] = []
        for rows in examples.split(CHUNK)[accelerator.process_index :: accelerator.num_processes]:
            layers = self.net(self._checked(self.dataset.get(rows)[0]))
            for layer in self.statistics:
                sums.setdefault(layer, Statistics(layers[layer].shape[1])).add(layers[layer])
            parts.append((rows, {layer: layers[layer].cpu() for layer in self.kept}))
        parts = gather_object(parts)
        order = torch.cat([rows for rows, _ in parts]).argsort()
        kept = {
            layer: {"features": torch.cat([features[layer] for _, features in parts])[order]}
            for layer in self.kept
        }
        whole: dict[str, Tensors] = {}
        for layer in self.statistics:
            own = sums.get(layer) or self._no_statistics(layer)
            whole[layer] = reduced(own, accelerator).tensors()
        if accelerator.is_local_main_process:
            for kind, found in (("statistics", whole), ("features", kept)):
                for layer, tensors in found.items():
                    store(self._file(layer, kind), tensors)
        return whole, kept

    def examples(self) -> LongTensor:
        """Return the indices of the examples: all, or where the features bound them a fixed random choice."""
        if self.net.most_examples is None:
            return torch.arange(len(self.dataset))
        permuted = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(0))
        return permuted[: self.net.most_examples].sort().values

    def _no_statistics(self, layer: str) -> Statistics:
        """Return empty statistics, for a process that got no examples."""
        features = self.net(self.dataset.get(self.examples()[:1])[0])[layer]
        return Statistics(features.shape[1])

    def _checked(self, real: Tensor) -> Tensor:
        """Return examples; raise FastdiffError if they are not finite, or not images in [-1, 1]."""
        low, high = real.aminmax()
        bounded = isinstance(self.net, Vectors) or max(-low, high) <= 1 + 1e-3
        if not (real.isfinite().all() and bounded):
            expected = "finite numbers" if isinstance(self.net, Vectors) else "images in [-1, 1]"
            raise FastdiffError(
                f"data {self.dataset.name}: values from {low:.4g} to {high:.4g}, expected {expected}"
            )
        return real

    def _file(self, layer: str, kind: str) -> Path:
        """Return the path of the cached statistics or features of a layer."""
        return self.cache / f"{self.net.name}-{self.name}-{layer}-{kind}.safetensors"

    def _stored(self, layer: str, kind: str) -> Tensors | None:
        """Return the contents of a cached file; None if it is missing or damaged."""
        try:
            return load_file(self._file(layer, kind))
        except (OSError, SafetensorError):
            return None


def reduced(statistics: Statistics, accelerator: Accelerator) -> Statistics:
    """Return the sum of statistics over all processes, on every process."""
    if accelerator.num_processes == 1:
        return statistics
    tensors = {name: tensor.to(accelerator.device) for name, tensor in statistics.tensors().items()}
    sums = accelerator.reduce(tensors, "sum")
    return Statistics.of({name: tensor.cpu() for name, tensor in sums.items()})


def store(path: Path, tensors: Tensors) -> None:
    """Write a cached file atomically; do nothing if it cannot be written.

    The temporary name is random, since processes on several machines may write the same file at once.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{uuid4().hex}")
        save_file(tensors, scratch)
        os.replace(scratch, path)
    except OSError:
        return
