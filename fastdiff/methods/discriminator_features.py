"""The frozen networks whose features of clean samples a discriminator takes, by name."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn
from typing_extensions import override

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import expanded
from ..core.validation import check_bounds
from ..data.batch import Batch
from ..networks.classifiers import load_features
from ..networks.discriminator import DiscriminatorHeads, apart, tokens
from ..networks.lpips import open_lpips
from .adversarial import Adversary, Features
from .base import Nets, unwrap
from .distances import ImageSize, enlarge
from .time_sampling import level

FEATURE_NETWORKS: dict[str, type] = {}


@dataclass(frozen=True)
class FeatureNetwork:
    """Base class of the settings of a frozen network whose features of clean samples are taken."""

    registry: ClassVar[dict[str, type]] = FEATURE_NETWORKS

    def __post_init__(self) -> None:
        check_bounds(self)

    def frozen_networks(self, student: Denoiser) -> Nets:
        """Return the network by its role; nothing if the training has it anyway, as it has the teacher."""
        return {}

    def new_discriminator(
        self, gan: Adversary, student: Denoiser, teacher: Denoiser, kinds: int
    ) -> nn.Module:
        """Create an untrained discriminator for the features.

        Args:
            gan: settings of the adversarial term.
            student: the student, whose samples are judged.
            teacher: the teacher.
            kinds: number of kinds of samples with separate outputs.

        Raises:
            FastdiffError: for samples that the network does not take, and for settings of `gan` that do not
                fit it.
        """
        raise NotImplementedError

    def extract_features(self, gan: Adversary, nets: Nets, batch: Batch, *samples: Tensor) -> list[Features]:
        """Return the features of batches of clean samples (B, ...), a list for each batch.

        Args:
            gan: settings of the adversarial term.
            nets: all networks by role.
            batch: source of the condition and the random stream, if the network needs them.
            samples: clean samples (B, ...), batch by batch.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Teachers(FeatureNetwork):
    """The teacher's network, evaluated on slightly noised samples.

    Args:
        level: noise level as a fraction of the schedule's levels, in (0, 1]; see time_sampling.level.
    """

    level: Annotated[float, Field(gt=0, le=1)] = 0.02

    @override
    def new_discriminator(
        self, gan: Adversary, student: Denoiser, teacher: Denoiser, kinds: int
    ) -> nn.Module:
        return gan.new_discriminator(teacher, kinds=kinds)

    @override
    def extract_features(self, gan: Adversary, nets: Nets, batch: Batch, *samples: Tensor) -> list[Features]:
        teacher = nets["teacher"]
        fraction = torch.full((len(batch.x0),), self.level, dtype=torch.float64, device=batch.x0.device)
        return gan.extract_noised_features(teacher, level(teacher.schedule, fraction), batch, *samples)


@dataclass(frozen=True)
class ImageNetwork(FeatureNetwork):
    """Base class of networks that take images; latents are decoded for them."""

    def load(self, device: torch.device) -> nn.Module:
        """Load the network, frozen; its `seen(images)` maps (B, C, H, W) in [-1, 1] to feature maps.

        Raises:
            FastdiffError: if its files are missing or damaged.
        """
        raise NotImplementedError

    def preprocess(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1], resized to the size that the network takes."""
        return images

    @override
    def frozen_networks(self, student: Denoiser) -> Nets:
        return {"features": self.load(student.device)}

    @override
    def new_discriminator(
        self, gan: Adversary, student: Denoiser, teacher: Denoiser, kinds: int
    ) -> nn.Module:
        if gan.names_modules:
            raise FastdiffError(
                "gan.features: they name modules of the teacher, and features_of is another network; leave "
                "them out",
                key="gan",
            )
        if len(student.image_shape) != 3 or student.image_shape[0] not in (1, 3):
            raise FastdiffError(
                "features_of: expected images of 1 or 3 channels, the samples have shape "
                f"{tuple(student.image_shape)}; choose teacher"
            )
        nets = {"student": student, **self.frozen_networks(student)}
        sample = torch.zeros(1, *student.shape, device=student.device)
        with torch.no_grad():
            (features,) = self.extract_features(gan, nets, None, sample)
        return DiscriminatorHeads([feature.shape[-1] for feature in features], gan.hidden, kinds)

    @override
    def extract_features(
        self, gan: Adversary, nets: Nets, batch: Batch | None, *samples: Tensor
    ) -> list[Features]:
        images = unwrap(nets["student"]).decoded(torch.cat(samples))
        with torch.autocast(images.device.type, enabled=False):
            maps = nets["features"].feature_maps(self.preprocess(images.float()))
            return apart([tokens(one) for one in maps], len(samples))


@dataclass(frozen=True)
class VGG16(ImageNetwork):
    """VGG16 with the weights that LPIPS uses.

    Args:
        weights: folder with the files of weights; see distances.LPIPS.
        size: side in pixels to which smaller sides are enlarged, at least 16.
    """

    weights: str | None = None
    size: ImageSize = 224

    @override
    def load(self, device: torch.device) -> nn.Module:
        return open_lpips(self.weights, device, torch.float32).to(device)

    @override
    def preprocess(self, images: Tensor) -> Tensor:
        return enlarge(images, self.size)


@dataclass(frozen=True)
class Classifier(ImageNetwork):
    """A classifier of small images, see networks/classifiers.py.

    Args:
        folder: folder with features.json and model.safetensors.
    """

    folder: str

    @override
    def load(self, device: torch.device) -> nn.Module:
        folder = expanded(self.folder)
        if not all((folder / file).is_file() for file in ("model.safetensors", "features.json")):
            raise FastdiffError(
                f"features_of: {folder}: expected a folder with model.safetensors and features.json",
                key="features_of",
            )
        try:
            network, _ = load_features(folder)
            return network.to(device)
        except (OSError, RuntimeError, SafetensorError, ValueError, TypeError) as error:
            raise FastdiffError(
                f"features_of: {folder} is damaged ({str(error).splitlines()[0]}): copy it again",
                key="features_of",
            ) from None

    @override
    def new_discriminator(
        self, gan: Adversary, student: Denoiser, teacher: Denoiser, kinds: int
    ) -> nn.Module:
        size = self.load(student.device).size
        if size and tuple(student.image_shape[1:]) != (size, size):
            raise FastdiffError(
                f"features_of: {self.folder} takes images of {size} x {size}, the samples have shape "
                f"{tuple(student.image_shape)}; choose another network",
                key="features_of",
            )
        return super().new_discriminator(gan, student, teacher, kinds)


FEATURE_NETWORKS |= {"teacher": Teachers, "vgg16": VGG16, "classifier": Classifier}
