"""Samples -> features -> figures, streamed and shared by processes; every figure is named after its feature network."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import cache_folder
from .metrics import METRICS
from .metrics.extractors import Extractor, Vectors, open_extractor
from .metrics.frechet import Statistics
from .metrics.kernels import Discrepancy
from .metrics.registry import Collected, kid_of_subsets

FOLDS = 4  # disjoint parts of the samples, by index, that show how a Frechet distance falls with n
DRAWN = 4000  # of a data set of vectors, drawn once and for all: what generated vectors are compared with
CHUNK = 512  # examples of the data at a time


class Figures(NamedTuple):
    """What was measured. terms: each sample's part in the kernel distance, for comparisons; broken: not finite, by index."""

    values: dict[str, float]
    terms: dict[str, Tensor]
    broken: list[int]


class Evaluator:
    """Figures of generated samples in one network's features, against a whole data set; add samples, then ask."""

    def __init__(
        self, dataset: Any, extractor: Extractor | Vectors, metrics: Sequence[str], cache: Path
    ) -> None:
        self.dataset, self.net, self.metrics, self.cache = dataset, extractor, tuple(metrics), Path(cache)
        self.extractor = str(extractor)
        self.reference = (
            f"{dataset.fingerprint}-{extractor.fingerprint}" if extractor.fingerprint else dataset.fingerprint
        )
        self.statistics = {METRICS[m].statistics for m in metrics} - {None}
        self.kept = {METRICS[m].kept for m in metrics} - {None}
        self.least = max(METRICS[metric].least for metric in metrics)
        if len(dataset) < self.least:
            count = f"{len(dataset)} example{'s' * (len(dataset) != 1)}"
            raise FastdiffError(
                f"data {dataset.name}: {count}, but as a reference for {', '.join(metrics)} at least "
                f"{self.least} are needed, and far more to mean something"
            )
        self.dims = 0
        self._real: Collected | None = None
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, list[Statistics]] = {}
        self._parts: list[tuple[Tensor, dict[str, Tensor], Tensor | None]] = []
        self._broken: list[int] = []

    def add(self, indices: Tensor, samples: Tensor, labels: Tensor | None = None) -> None:
        """Samples (n, *shape), images in [-1, 1], and the class each was asked to be; every process adds its own."""
        broken = ~samples.isfinite().flatten(1).all(1)
        self._broken += indices[broken.cpu()].tolist()
        layers = self.net(
            samples.masked_fill(broken.view(-1, *[1] * (samples.ndim - 1)), 0)
        )  # told of in the end
        for layer in self.statistics:
            sums = self._sums.setdefault(layer, [Statistics(layers[layer].shape[1]) for _ in range(FOLDS)])
            for fold in range(FOLDS):
                sums[fold].add(layers[layer][(indices % FOLDS == fold).to(layers[layer].device)])
        kept = {layer: layers[layer].cpu() for layer in self.kept}
        self._parts.append((indices.cpu(), kept, None if labels is None else labels.cpu()))

    def result(self, accelerator: Accelerator) -> Figures:
        """The figures of all samples that any process added since the last result, the same on each process."""
        real = self._reference(accelerator)
        sums = {
            layer: [_reduced(one, accelerator) for one in self._folds(layer)]
            for layer in sorted(self.statistics)
        }
        parts, broken = gather_object(self._parts), sorted(gather_object(self._broken))
        self._restart()
        found: list[Any] = [None]
        if accelerator.is_main_process:
            indices = torch.cat([part[0] for part in parts]) if parts else torch.empty(0)
            if len(indices) < self.least:
                named = ", ".join(self.metrics)
                found = [
                    FastdiffError(f"n = {len(indices)}: metrics {named} need at least {self.least} samples")
                ]
            else:
                try:
                    found = [self._figures(indices, parts, sums, real, broken)]
                except FastdiffError as error:
                    found = [error]
        broadcast_object_list(found)
        if isinstance(found[0], FastdiffError):
            raise found[0]
        return found[0]

    def _figures(
        self,
        indices: Tensor,
        parts: list,
        sums: dict[str, list[Statistics]],
        real: Collected,
        broken: list[int],
    ) -> Figures:
        order = indices.argsort()
        device = self.net.device
        kept = {layer: torch.cat([part[1][layer] for part in parts])[order].to(device) for layer in self.kept}
        labels = None if parts[0][2] is None else torch.cat([part[2] for part in parts])[order]
        made = Collected(sums, kept, labels)
        values: dict[str, float] = {}
        terms: dict[str, Tensor] = {}
        for metric in self.metrics:
            for family, value in METRICS[metric].of(made, real).items():
                base, _, companion = family.partition("_")
                name = self.net.named(base) + (f"_{companion}" if companion else "")
                if isinstance(value, Discrepancy):
                    values |= {name: value.value, f"{name}_se": value.error}
                    terms |= {f"{name}.generated": value.x_terms, f"{name}.reference": value.y_terms}
                elif value is not None:
                    values[name] = value
        if "kid" in values:  # as the field reports it: the mean over random subsets, torch-fidelity's
            values["kid"] = kid_of_subsets(kept["features"], real.kept["features"])
        if broken:  # a broken sample would be some black image: such figures are no figures
            values, terms = dict.fromkeys(values, math.inf), {}
        return Figures(values, terms, broken)

    def _folds(self, layer: str) -> list[Statistics]:
        """This process's sums; zeros where it had no sample."""
        return self._sums.get(layer) or [
            Statistics(len(self._real.statistics[layer][0].sum)) for _ in range(FOLDS)
        ]

    def _reference(self, accelerator: Accelerator) -> Collected:
        """The data's side, from the cache where every process has it, else computed by all together and stored."""
        if self._real is None:
            sums, kept = (
                {layer: self._stored(layer, kind) for layer in sorted(layers)}
                for kind, layers in (("statistics", self.statistics), ("features", self.kept))
            )
            absent = [*sums.values(), *kept.values()].count(None)
            if accelerator.reduce(torch.tensor(absent, device=accelerator.device), "sum") > 0:
                sums, kept = self._compute(accelerator)
            self._real = Collected(
                {layer: [Statistics.of(found)] for layer, found in sums.items()},
                {layer: found["features"].to(self.net.device) for layer, found in kept.items()},
            )
            self.dims = max(
                [len(found["sum"]) for found in sums.values()]
                + [found["features"].shape[1] for layer, found in kept.items() if layer == "features"],
                default=0,
            )
        return self._real

    def _compute(
        self, accelerator: Accelerator
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
        """Every layer of the data that is needed, each process a part."""
        examples = torch.arange(len(self.dataset))
        if isinstance(self.net, Vectors):
            examples = (
                torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(0))[:DRAWN]
                .sort()
                .values
            )
        sums: dict[str, Statistics] = {}
        parts = []
        for rows in examples.split(CHUNK)[accelerator.process_index :: accelerator.num_processes]:
            layers = self.net(self._checked(self.dataset.get(rows)[0]))
            for layer in self.statistics:
                sums.setdefault(layer, Statistics(layers[layer].shape[1])).add(layers[layer])
            parts.append((rows, {layer: layers[layer].cpu() for layer in self.kept}))
        parts = gather_object(parts)
        order = torch.cat([rows for rows, _ in parts]).argsort()
        kept = {
            layer: {"features": torch.cat([part[layer] for _, part in parts])[order]}
            for layer in sorted(self.kept)
        }
        shapes = {
            layer: one.shape
            for one in [self.net(self.dataset.get(examples[:1])[0])]
            for layer, one in one.items()
        }
        whole = {
            layer: _reduced(sums.get(layer) or Statistics(shapes[layer][1]), accelerator).tensors()
            for layer in sorted(self.statistics)
        }
        if accelerator.is_local_main_process:
            for kind, found in (("statistics", whole), ("features", kept)):
                for layer, tensors in found.items():
                    store(self._file(layer, kind), tensors)
        return whole, kept

    def _checked(self, real: Tensor) -> Tensor:
        """Examples of the data, refused where they are no images or not finite."""
        low, high = real.aminmax()
        if not (real.isfinite().all() and (isinstance(self.net, Vectors) or max(-low, high) <= 1 + 1e-3)):
            wanted = "finite numbers" if isinstance(self.net, Vectors) else "images in [-1, 1]"
            raise FastdiffError(
                f"data {self.dataset.name}: values from {low:.4g} to {high:.4g}, expected {wanted}"
            )
        return real

    def _file(self, layer: str, kind: str) -> Path:
        return self.cache / f"{self.net.name}-{self.reference}-{layer}-{kind}.safetensors"

    def _stored(self, layer: str, kind: str) -> dict[str, Tensor] | None:
        try:
            return load_file(self._file(layer, kind))
        except (OSError, SafetensorError):  # never made, or damaged: made again
            return None


def _reduced(statistics: Statistics, accelerator: Accelerator) -> Statistics:
    """The sum over all processes, on each of them."""
    if accelerator.num_processes == 1:
        return statistics
    tensors = {name: tensor.to(accelerator.device) for name, tensor in statistics.tensors().items()}
    return Statistics.of({name: tensor.cpu() for name, tensor in accelerator.reduce(tensors, "sum").items()})


def store(path: Path, tensors: dict[str, Tensor]) -> None:
    """Written to a temporary name and renamed; where a cache cannot be written, there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(
            f".{uuid4().hex}"
        )  # other processes, of other machines too, may write the same
        save_file(tensors, draft)
        os.replace(draft, path)
    except OSError:
        return


def evaluate_images(
    made: Any,
    real: Any,
    extractors: str | None = None,
    metrics: Sequence[str] | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Figures of one data set's examples as samples of another: images from elsewhere, judged like our own.

    n and dims, the samples and the features' dimension, are among them: with n <= dims a Frechet distance is
    mostly bias. Where both have as many classes, they are taken to be the same, in the same order.
    """
    accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available())
    if tuple(made.shape) != tuple(real.shape):
        raise FastdiffError(
            f"{made.name} is {tuple(made.shape)}, but {real.name} is {tuple(real.shape)}: give the data a "
            "resolution and colour that suit the images"
        )
    found: dict[str, float] = {"n": len(made)}
    for evaluator in open_evaluators(real, extractors, metrics, accelerator.device):
        for rows in torch.arange(len(made)).split(CHUNK)[
            accelerator.process_index :: accelerator.num_processes
        ]:
            labels = made.labels[rows] if made.labels is not None and made.classes == real.classes else None
            evaluator.add(rows, made.get(rows)[0], labels)
        found |= evaluator.result(accelerator).values | {"dims": evaluator.dims}
    return found


# ---- which figures ----------------------------------------------------------------------------------------------------


def open_evaluators(
    dataset: Any,
    extractors: str | None,
    metrics: Sequence[str] | None,
    device: torch.device | str,
    cache: Path | None = None,
) -> list[Evaluator]:
    """What judges samples of this data, one for each extractor of a comma-separated list; metrics None: the usual ones."""
    cache = cache_folder("reference") if cache is None else cache
    if unknown := set(metrics or ()) - set(METRICS):
        raise FastdiffError(f"metrics: {min(unknown)!r} is unknown, choose from {', '.join(METRICS)}")
    if len(dataset.shape) == 1:
        if extractors is not None:
            raise FastdiffError(
                f"extractor {extractors}: vectors are compared without one; leave extractor out"
            )
        if missing := {
            m for m in metrics or () if METRICS[m].kept == "logits" or METRICS[m].statistics == "spatial"
        }:
            raise FastdiffError(
                f"metrics: {min(missing)!r} needs a feature network, and vectors are compared without one"
            )
        return [Evaluator(dataset, Vectors(torch.device(device)), metrics or ("energy", "swd", "pr"), cache)]
    default = "checkpoints/digits/features" if dataset.name == "digits" else "inception"
    nets = [open_extractor(spec, device) for spec in (extractors or default).split(",")]
    if len({net.name for net in nets}) < len(nets):
        raise FastdiffError(
            f"extractor {extractors}: two of them are called the same, and so would their figures be"
        )
    nets.sort(key=lambda net: net.name != "inception")  # fid is what a report is about
    return [_image_evaluator(dataset, net, metrics, cache) for net in nets]


def _image_evaluator(dataset: Any, net: Extractor, metrics: Sequence[str] | None, cache: Path) -> Evaluator:
    """An evaluator of images, checked against the data."""
    channels, *size = dataset.shape
    if channels not in (1, 3) or (net.size and size != [net.size] * 2):
        side = net.size or "any"
        raise FastdiffError(
            f"{net.name} takes (1 or 3, {side}, {side}), but {dataset.name} is {tuple(dataset.shape)}"
        )
    classes = getattr(dataset, "classes", 0)
    usual = ("fd", "kd", "pr") + (("accuracy",) if classes and net.classes == classes else ())
    for metric in metrics or ():
        layer = METRICS[metric].kept or METRICS[metric].statistics
        if layer not in net.layers or (metric == "accuracy" and net.classes != classes):
            raise FastdiffError(
                f"metrics: {metric!r} is not to be had in {net.name}: it has {', '.join(net.layers)}"
                + (
                    f", and {net.classes or 'no'} classes where the data have {classes}"
                    if metric == "accuracy"
                    else ""
                )
            )
    return Evaluator(dataset, net, metrics or usual, cache)
