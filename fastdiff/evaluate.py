"""Images -> features -> statistics -> metrics, streamed and summed over processes.

`fid` means torch-fidelity's Inception-v3 features alone; in others it is `fd_<extractor>`; vectors have `energy`.
"""

import hashlib
import math
import os
import pickle
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from fastdiff.errors import FastdiffError
from fastdiff.networks.features import DigitFeatures, load_features
from fastdiff.pictures import to_uint8

BATCH = 64  # images a forward pass of the feature network; fixed, for float32 features depend on it in the last digits


class DigitsExtractor(FeatureExtractorBase):
    """The digits classifier as torch-fidelity's extractor "digits"; its weights path is the network's folder."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **kwargs):
        super().__init__(name, features_list)
        self.net, self.info = load_features(feature_extractor_weights_path)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = dict(zip(self.get_provided_features_list(), self.net(images), strict=True))
        return tuple(layers[name] for name in self.features_list)


register_feature_extractor("digits", DigitsExtractor)


@dataclass(frozen=True)
class Extractor:
    """A feature network: images (n, 1 or 3, H, W) in [-1, 1] -> float features (n, dims)."""

    name: str
    metric: str
    dims: int
    size: int | None  # the one H = W it takes; None: any
    fingerprint: str  # of the weights
    net: FeatureExtractorBase
    device: torch.device

    def __str__(self) -> str:
        return f"{self.name}@{self.fingerprint}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        pixels = to_uint8(images.nan_to_num()).expand(-1, 3, -1, -1)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return torch.cat([self.net(batch.to(self.device))[0] for batch in pixels.split(BATCH)])


def open_extractor(spec: str, device: torch.device | str) -> Extractor:
    """`inception`, `inception:/path/to/weights.pth`, or the folder of a network trained by digits_features.py."""
    if spec.partition(":")[0] == "inception":
        weights = find(spec.partition(":")[2]) if ":" in spec else inception_weights()
        name, metric, dims, size = "inception", "fid", 2048, None
        net = open_inception(weights)
    else:
        folder = find(spec)
        weights = folder / "model.safetensors"
        if not (weights.is_file() and (folder / "features.json").is_file()):
            raise FastdiffError(f"extractor {spec}: expected a folder with model.safetensors and features.json")
        net = DigitsExtractor("digits", ["features"], folder)
        name, metric, dims, size = net.info["name"], f"fd_{net.info['name']}", net.info["dims"], DigitFeatures.size
    fingerprint = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    net = net.eval().requires_grad_(False).to(device)
    return Extractor(name, metric, dims, size, fingerprint, net, torch.device(device))


def find(path: str) -> Path:
    """A path as it stands, or else beside the package, where the source tree keeps checkpoints/."""
    for candidate in (Path(path).expanduser(), Path(__file__).parents[1] / path):
        if candidate.exists():
            return candidate
    raise FastdiffError(f"extractor {path}: no such file or folder; expected inception, inception:/path or a folder")


def inception_weights() -> Path:
    """torch-fidelity's weights in torch's cache, fetched when they are missing."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with socket_timeout(10):
                torch.hub.download_url_to_file(URL_INCEPTION_V3, path, progress=False)
        except (OSError, HTTPException):  # no network, a timeout, a full disk, a proxy's odd answer
            raise FastdiffError(
                f"Inception weights cannot be fetched: put {path.name} into $TORCH_HOME/hub/checkpoints "
                f"({path.parent}) or say extractor: inception:/path/to/{path.name}"
            ) from None
    return path


@contextmanager
def socket_timeout(seconds: float):
    """New sockets give up after so long."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def open_inception(weights: Path) -> FeatureExtractorInceptionV3:
    """torch-fidelity's network, from a file of its weights."""
    try:
        torch.load(weights, weights_only=True)  # torch-fidelity unpickles anything: let it see plain tensors only
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError):
        raise FastdiffError(f"{weights}: not the weights of Inception-v3; replace or delete it") from None


# ------------------------------------------------------------------------------------------ statistics and metrics


class Statistics:
    """Count, sum and outer sum of features (n, d), in float64 on the CPU; sums of parts are the sum of the whole."""

    def __init__(self, dims: int):
        self.n = 0
        self.sum = torch.zeros(dims, dtype=torch.float64)
        self.outer = torch.zeros(dims, dims, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        features = features.cpu().double()
        self.n += len(features)
        self.sum += features.sum(0)
        self.outer += features.T @ features

    def reduce(self, accelerator: Accelerator) -> "Statistics":
        """The sum over all processes, on each of them."""
        if accelerator.num_processes == 1:
            return self
        tensors = {name: tensor.to(accelerator.device) for name, tensor in self.tensors().items()}
        return self.of({name: tensor.cpu() for name, tensor in accelerator.reduce(tensors, "sum").items()})

    @property
    def mean(self) -> Tensor:
        return self.sum / self.n

    @property
    def cov(self) -> Tensor:
        """Unbiased (n - 1)."""
        if self.n < 2:
            raise FastdiffError(f"n = {self.n}: a covariance needs at least 2 samples, and far more to mean something")
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    def tensors(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "sum": self.sum, "outer": self.outer}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Statistics":
        self = cls(len(tensors["sum"]))
        self.n, self.sum, self.outer = int(tensors["n"]), tensors["sum"], tensors["outer"]
        return self

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        save_file(self.tensors(), part)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        return cls.of(load_file(path))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^1/2), by torch-fidelity's formula."""
    stats = [{"mu": s.mean.numpy(), "sigma": s.cov.numpy()} for s in (a, b)]
    return fid_statistics_to_metric(*stats, verbose=False)[KEY_METRIC_FID]


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| of vectors (n, d); unbiased, so it may fall below 0."""
    if min(len(x), len(y)) < 2:
        raise FastdiffError(f"n = {len(x)} and {len(y)}: the energy distance needs at least 2 samples of each")
    x, y = x.cpu().double(), y.cpu().double()
    between = distance_sum(x, y) / (len(x) * len(y))
    within = [distance_sum(z, z) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return 2 * between - sum(within)


def distance_sum(x: Tensor, y: Tensor) -> float:
    """Sum of |x_i - y_j| over all pairs, never all in memory; subtracts before it squares, so |x_i - x_i| is 0."""
    chunks = (torch.cdist(chunk, y, compute_mode="donot_use_mm_for_euclid_dist") for chunk in x.split(1024))
    return sum(chunk.sum().item() for chunk in chunks)


# ------------------------------------------------------------------------------------------------------ evaluators


class FrechetEvaluator:
    """Frechet distance of generated images to a whole data set, whose statistics are cached."""

    def __init__(self, dataset, extractor: Extractor, cache_dir: Path):
        self.dataset, self.net = dataset, extractor
        self.metric, self.extractor = extractor.metric, str(extractor)
        self.reference = f"{dataset.fingerprint}-{extractor.fingerprint}"
        self.cache = Path(cache_dir) / f"{extractor.name}-{self.reference}.safetensors"
        self.statistics = Statistics(extractor.dims)

    def add(self, indices: Tensor, images: Tensor) -> None:
        """Images (n, C, H, W) in [-1, 1]; each process adds its own samples, each sample once."""
        broken = ~images.isfinite().flatten(1).all(1)  # would be black in 8 bits: such a figure is no figure
        self.statistics.add(self.net(images).masked_fill(broken[:, None].to(self.net.device), math.nan))

    def result(self, accelerator: Accelerator) -> dict[str, float]:
        generated, self.statistics = self.statistics.reduce(accelerator), Statistics(self.net.dims)
        reference = self.dataset_statistics(accelerator)
        return {self.metric: frechet_distance(generated, reference) if generated.sum.isfinite().all() else math.inf}

    def dataset_statistics(self, accelerator: Accelerator) -> Statistics:
        """From the cache, or computed by all processes together when it is missing on any of their machines."""
        missing = torch.tensor(not self.cache.is_file(), dtype=torch.long, device=accelerator.device)
        if accelerator.reduce(missing, "sum") == 0:
            return Statistics.load(self.cache)
        part = Statistics(self.net.dims)
        batches = torch.arange(len(self.dataset)).split(BATCH)
        for indices in batches[accelerator.process_index :: accelerator.num_processes]:
            part.add(self.net(self.dataset.get(indices)[0]))
        whole = part.reduce(accelerator)
        if accelerator.is_local_main_process:
            whole.save(self.cache)
        return whole


class EnergyEvaluator:
    """Energy distance of generated vectors to those of a data set, or to 4,000 drawn from it once and for all."""

    metric, extractor, size = "energy", "none", 4000

    def __init__(self, dataset):
        self.reference = dataset.fingerprint
        draw = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: self.size]
        self.vectors = dataset.get(draw)[0]
        self.samples = []

    def add(self, indices: Tensor, images: Tensor) -> None:
        """Vectors (n, D) and their sample indices (n,)."""
        self.samples.append((indices.cpu(), images.cpu()))

    def result(self, accelerator: Accelerator) -> dict[str, float]:
        samples, self.samples = gather_object(self.samples), []  # objects: processes may hold unequal counts
        if not samples:
            raise FastdiffError("no samples to evaluate: n must be at least 2")
        indices, vectors = (torch.cat(parts) for parts in zip(*samples, strict=True))
        return {self.metric: energy_distance(vectors[indices.argsort()], self.vectors)}


Evaluator = FrechetEvaluator | EnergyEvaluator


def open_evaluator(dataset, extractor_spec: str | None, device: torch.device | str, cache_dir: Path) -> Evaluator:
    """What judges samples of this data: its metric, extractor and reference are names for the row."""
    if len(dataset.shape) == 1:
        if extractor_spec is not None:
            raise FastdiffError(f"extractor {extractor_spec}: vectors are compared without one; leave extractor out")
        return EnergyEvaluator(dataset)
    default = "checkpoints/digits/features" if dataset.name == "digits" else "inception"
    extractor = open_extractor(extractor_spec or default, device)
    channels, *size = dataset.shape
    if channels not in (1, 3) or (extractor.size and size != [extractor.size] * 2):
        side = extractor.size or "any"
        raise FastdiffError(f"{extractor.name} takes (1 or 3, {side}, {side}), but {dataset.name} is {dataset.shape}")
    return FrechetEvaluator(dataset, extractor, cache_dir)
