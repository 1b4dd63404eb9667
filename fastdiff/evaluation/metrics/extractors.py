"""Feature networks: those of torch-fidelity by name, and our own classifiers in folders."""

import hashlib
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS
from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA as DINO_NAMES
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torchvision.models import VGG16_Weights
from typing_extensions import override

from ...core.errors import FastdiffError, first_line
from ...core.shipped import shipped
from ...data.image_grid import to_uint8
from ...networks.classifiers import load_features
from ...networks.download import MissingWeights, cached, socket_timeout

VERSION = "2"  # version of the step from pixels to features; part of every fingerprint
BATCH = 64  # images per pass of the network; the last digits of float32 features depend on it
SPATIAL = 7  # channels of a spatial layer that serve as features (Nash et al. 2021)
INCEPTION = "inception-v3-compat"
# The common names of metrics in Inception-v3's features; others end in the name of the feature network.
INCEPTION_NAMES = {"fd": "fid", "kd": "kid", "score": "is", "sfd": "sfid"}
# Examples of a data set of vectors that generated vectors are compared with, the same ones in every run.
VECTOR_EXAMPLES = 4000
URLS = {"vgg16": VGG16_Weights.IMAGENET1K_V1.url, INCEPTION: URL_INCEPTION_V3, **MODEL_URLS}


class DigitsExtractor(FeatureExtractorBase):
    """One of our classifiers as the extractor "digits" of torch-fidelity; its weights path is a folder."""

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | Path,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, features_list)
        self.net, self.info = load_features(feature_extractor_weights_path)

    @staticmethod
    @override
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits", "spatial"

    @staticmethod
    @override
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    @override
    def can_be_compiled() -> bool:
        return False

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = dict(zip(self.get_provided_features_list(), self.net(images), strict=True))
        layers["spatial"] = layers["spatial"][:, :SPATIAL].flatten(1)
        return tuple(layers[name] for name in self.features_list)


class SpatialInception(FeatureExtractorInceptionV3):
    """An Inception-v3 with sFID's spatial features: seven maps, 17 x 17, of mixed_6/conv."""

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, ["2048", "logits_unbiased"], **kwargs)
        self.requested = features_list
        self.spatial: Tensor | None = None
        self.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple, maps: Tensor) -> None:
        self.spatial = maps[:, :SPATIAL].flatten(1)

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features, logits = super().forward(images)
        layers = {"2048": features, "logits_unbiased": logits, "spatial": self.spatial}
        return tuple(layers[name] for name in self.requested)


register_feature_extractor("digits", DigitsExtractor)


@dataclass(frozen=True)
class Extractor:
    """A feature network: images (n, 1 or 3, H, W) in [-1, 1] -> {layer: float features (n, dims)}.

    Args:
        name: suffix of the names of its metrics.
        net: network.
        layers: names in the network of the layers features, logits and spatial.
        device: device of the network.
        size: side in pixels of the square images that it takes; None for any size.
        classes: number of classes that the logits distinguish; None if unknown.
    """

    name: str
    net: FeatureExtractorBase
    layers: dict[str, str]
    device: torch.device
    size: int | None = None
    classes: int | None = None
    most_examples: ClassVar[int | None] = None  # samples are compared with all examples of the data

    def __post_init__(self) -> None:
        self.net.eval().requires_grad_(False).to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """The twelve hex digits that identify the weights and the step from pixels to features."""
        digest = hashlib.sha256(f"{VERSION} {self.name} {self.layers}".encode())
        for key, tensor in sorted(self.net.state_dict().items()):
            digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.name}@{self.fingerprint}"

    def named(self, family: str) -> str:
        """Return the key of a metric in these features: fid, fd_digits, precision_inception."""
        if self.name == "inception" and family in INCEPTION_NAMES:
            return INCEPTION_NAMES[family]
        return f"{family}_{self.name}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features (n, dims) of images (n, 1 or 3, H, W) in [-1, 1], by layer."""
        pixels = to_uint8(images.nan_to_num()).expand(-1, 3, -1, -1)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [self.net(batch.to(self.device)) for batch in pixels.split(BATCH)]
        return {
            layer: torch.cat(part).float()
            for layer, part in zip(self.layers, zip(*parts, strict=True), strict=True)
        }


@dataclass(frozen=True)
class Vectors:
    """The features of vectors (n, d): the vectors themselves, without a network."""

    device: torch.device
    name: str = "none"
    fingerprint: str = ""
    layers: tuple[str, ...] = ("features",)
    most_examples: int | None = VECTOR_EXAMPLES

    def __str__(self) -> str:
        return self.name

    def named(self, family: str) -> str:
        """Return the key of a metric: its family."""
        return family

    def __call__(self, vectors: Tensor) -> dict[str, Tensor]:
        """Return the vectors (n, d) in float32 as the layer "features"."""
        return {"features": vectors.float().to(self.device)}


def open_extractor(spec: str, device: torch.device | str) -> Extractor:
    """Open a feature network.

    Args:
        spec: `inception`, another name of torch-fidelity's registry, or a folder with model.safetensors and
            features.json; name:path gives the file of a named network's weights.
        device: device of the network.

    Raises:
        MissingWeights: for an unknown name, and for weights that are missing.
        FastdiffError: for weights that are damaged.
    """
    name, _, path = spec.partition(":")
    name = INCEPTION if name == "inception" else name
    device = torch.device(device)
    if name == "digits" or name not in FEATURE_EXTRACTORS_REGISTRY:
        return _open_folder(spec, device)
    if name == INCEPTION:
        net = _with_weights(SpatialInception, name, ["2048", "logits_unbiased", "spatial"], path)
        layers = {"features": "2048", "logits": "logits_unbiased", "spatial": "spatial"}
        return Extractor("inception", net, layers, device)
    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    layers = {"features": kind.get_default_feature_layer_for_metric("fid")}
    logits = kind.get_default_feature_layer_for_metric("isc")
    if logits != layers["features"]:
        layers["logits"] = logits
    net = _with_weights(kind, name, list(layers.values()), path)
    return Extractor(name.replace("-", "_"), net, layers, device)


def _open_folder(spec: str, device: torch.device) -> Extractor:
    """Open a network of our own from its folder, as `fastdiff features` writes it."""
    folder = find(spec)
    if not all((folder / file).is_file() for file in ("model.safetensors", "features.json")):
        raise FastdiffError(f"extractor {spec}: expected a folder with model.safetensors and features.json")
    try:
        net = DigitsExtractor("digits", ["features", "logits", "spatial"], folder)
        name = net.info["name"]
        if not re.fullmatch(r"\w+", name):  # it is part of file names
            raise ValueError(f"name {name!r:.80}, expected a word")
    except (OSError, RuntimeError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise FastdiffError(f"extractor {folder} is damaged ({first_line(error)}): copy it again") from None
    classifies = net.info.get("task", "classes") == "classes"  # logits of rotations say nothing of samples
    layers = {layer: layer for layer in ("features", "logits", "spatial") if classifies or layer != "logits"}
    net.features_list = list(layers)
    return Extractor(name, net, layers, device, net.net.size, net.net.classes if classifies else None)


def find(path: str) -> Path:
    """Return a path, or the shipped file or folder of that path; raise MissingWeights if there is neither."""
    if (found := shipped(path)) is not None:
        return found
    others = [name for name in FEATURE_EXTRACTORS_REGISTRY if name not in (INCEPTION, "digits")]
    known = ", ".join(["pixels", "inception", *others])
    raise MissingWeights(
        f"extractor {path}: no such file, folder or name: choose from {known} (name:/path gives "
        "the file of the weights), or give a folder"
    )


# ---- weights: a path, then torch's cache, then the network ----------------------------------------------


def _with_weights(kind: Callable, name: str, layers: list[str], path: str) -> FeatureExtractorBase:
    """Create a network of torch-fidelity with weights from a file."""
    if name in DINO_NAMES:
        return _dino(kind, name, layers, path)
    weights = None
    if path:
        weights = find(path)
    elif name in URLS:
        weights = weights_file(name)
    try:
        if weights is None:
            return kind(name, layers)
        if name not in MODEL_URLS:  # torch-fidelity unpickles anything: check that these are only tensors
            torch.load(weights, weights_only=True)
        return kind(name, layers, feature_extractor_weights_path=weights)
    except (OSError, EOFError, RuntimeError, TypeError, KeyError, pickle.UnpicklingError):
        raise FastdiffError(f"{weights}: not the weights of {name}; replace or delete it") from None


def weights_file(name: str) -> Path:
    """Return the path of weights in torch's cache, under torch-fidelity's name; download them if missing."""
    url = URLS[name]
    short = "inception" if name == INCEPTION else name
    file = f"{name}-{MODEL_METADATA[name]['hash']}.pt" if name in MODEL_URLS else url.rpartition("/")[2]
    setting = f"extractor: {short}:/path/to/{file}, extractor: pixels, or extractor: FOLDER, a network"
    return cached(url, file, short, f"{setting} that `fastdiff features` has trained")


def _dino(kind: Callable, name: str, layers: list[str], path: str) -> FeatureExtractorBase:
    """Create DINOv2 from local copies of its weights and of its authors' code, which is never downloaded."""
    hub = Path(torch.hub.get_dir())
    code = hub / "facebookresearch_dinov2_main"
    weights = hub / "checkpoints" / f"{DINO_NAMES[name]}_pretrain.pth"
    if path or not (code.is_dir() and weights.is_file()):
        raise FastdiffError(
            f"extractor {name}: expected its authors' code in {code} and the weights in {weights}; copy "
            "both there, since code is never downloaded"
        )
    with socket_timeout(1):  # torch.hub first looks up the name of the branch, then uses the copy
        return kind(name, layers)
