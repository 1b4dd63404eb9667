"""What a critic sees clean samples by: the features of a frozen network, by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Batch
from ..networks.classifiers import load_features
from ..networks.discriminator import Critic, apart, tokens
from ..networks.lpips import open_lpips
from .adversarial import Adversary
from .base import Nets, bare
from .distances import LPIPS
from .time_sampling import level

FEATURE_NETWORKS: dict[str, type] = {}


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network, and how samples are shown to it."""

    registry: ClassVar[dict[str, type]] = FEATURE_NETWORKS

    def frozen(self, student: Denoiser) -> Nets:
        """The network, where it is none that the training has anyway."""
        return {}

    def critic(self, gan: Adversary, student: Denoiser, teacher: Denoiser, kinds: int) -> nn.Module:
        """Fresh heads, for so many kinds of samples."""
        raise NotImplementedError

    def seen(self, gan: Adversary, nets: Nets, batch: Batch, *parts: Tensor) -> list[list[Tensor]]:
        """The features of batches of clean samples (B, ...), a list a batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Teachers(FeatureNetwork):
    """The teacher's own network, at a little noise. level: a share of the schedule's levels."""

    level: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.level <= 1:
            raise FastdiffError(
                f"features_of: level = {self.level}, expected above 0 and at most 1", key="features_of"
            )

    def critic(self, gan, student, teacher, kinds):
        return gan.critic(teacher, kinds=kinds)

    def seen(self, gan, nets, batch, *parts):
        share = torch.full((len(batch.x0),), self.level, dtype=torch.float64, device=batch.x0.device)
        return gan.seen_noised(nets["teacher"], level(nets["teacher"].schedule, share), batch, *parts)


@dataclass(frozen=True)
class Pictures(FeatureNetwork):
    """A network of pictures, which latents are decoded for. A kind of it says which network, and what it is shown."""

    def open(self, device: torch.device) -> nn.Module:
        """The network, with seen(images in [-1, 1]) -> its maps."""
        raise NotImplementedError

    def shown(self, images: Tensor) -> Tensor:
        return images

    def frozen(self, student):
        return {"features": self.open(student.device)}

    def critic(self, gan, student, teacher, kinds):
        if gan.features:
            raise FastdiffError(
                "gan: features name modules of the teacher, and features_of is another network: leave them "
                "out",
                key="gan",
            )
        if len(student.image_shape) != 3 or student.image_shape[0] not in (1, 3):
            raise FastdiffError(
                "features_of is a network of pictures of 1 or 3 channels, the samples have shape "
                f"{tuple(student.image_shape)}: choose teacher"
            )
        nets = {"student": student, **self.frozen(student)}
        with torch.no_grad():
            (features,) = self.seen(gan, nets, None, torch.zeros(1, *student.shape, device=student.device))
        return Critic([feature.shape[-1] for feature in features], gan.hidden, kinds)

    def seen(self, gan, nets, batch, *parts):
        images = bare(nets["student"]).decoded(torch.cat(parts))
        with torch.autocast(images.device.type, enabled=False):
            return apart(
                [tokens(maps) for maps in nets["features"].seen(self.shown(images.float()))], len(parts)
            )


@dataclass(frozen=True)
class VGG16(Pictures):
    """VGG16 as LPIPS has it. weights: a folder of its files; size: what smaller sides are enlarged to."""

    weights: str | None = None
    size: int = 224

    def __post_init__(self) -> None:
        LPIPS(self.weights, self.size)  # what it refuses is refused here too

    def open(self, device):
        return open_lpips(self.weights, device, torch.float32).to(device)

    def shown(self, images):
        return LPIPS(self.weights, self.size).enlarged(images)


@dataclass(frozen=True)
class Classifier(Pictures):
    """A classifier of small pictures, as networks/features.py has them. folder: of its features.json."""

    folder: str

    def open(self, device):
        folder = Path(self.folder).expanduser()
        if not all((folder / file).is_file() for file in ("model.safetensors", "features.json")):
            raise FastdiffError(
                f"features_of: {folder}: expected a folder with model.safetensors and features.json",
                key="features_of",
            )
        try:
            return load_features(folder)[0].to(device)
        except (OSError, RuntimeError, SafetensorError, ValueError, TypeError) as error:
            raise FastdiffError(
                f"features_of: {folder} is damaged ({str(error).splitlines()[0]}): copy it again",
                key="features_of",
            ) from None

    def critic(self, gan, student, teacher, kinds):
        size = self.open(student.device).size
        if tuple(student.image_shape[1:]) != (size, size):
            raise FastdiffError(
                f"features_of: {self.folder} is of pictures of {size} x {size}, the samples have shape "
                f"{tuple(student.image_shape)}",
                key="features_of",
            )
        return super().critic(gan, student, teacher, kinds)


FEATURE_NETWORKS |= {"teacher": Teachers, "vgg16": VGG16, "classifier": Classifier}
