"""Autoencoders: images to the latents of a model, and back."""

from functools import cached_property
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import identity, read_object
from .pretrained import check_weights, digest, opened, weights_in

KINDS = ("AutoencoderKL", "VQModel", "AutoencoderTiny")
MAX_PIXELS = 1 << 20  # most pixels per pass: four images of 512 x 512


class Autoencoder:
    """An autoencoder of diffusers in a model's units: latents = scale * (the module's latents - shift).

    It is not a submodule of the model: it is never trained, averaged or copied, and it moves to the device of
    its input.

    Args:
        module: module of diffusers, of a class in KINDS.
        scale: factor of the latents, a number or a tensor (C, 1, 1).
        shift: offset of the latents, a number or a tensor (C, 1, 1).
    """

    folder = "vae"

    def __init__(self, module: ModelMixin, scale: Tensor | float = 1.0, shift: Tensor | float = 0.0) -> None:
        self.module = module.eval().requires_grad_(False)
        self.scale = scale
        self.shift = shift
        if type(module).__name__ == "VQModel":
            self.folder = "vqvae"  # its name in pipelines

    @classmethod
    def of(cls, module: ModelMixin) -> "Autoencoder":
        """Wrap a module, with the units in its configuration."""
        config = module.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        scale = config.get("scaling_factor") or 1.0
        if mean is None or std is None:
            return cls(module, scale, config.get("shift_factor") or 0.0)
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (mean, std))
        return cls(module, scale / std, mean)

    @classmethod
    def open(cls, folder: Path) -> "Autoencoder":
        """Open the autoencoder in the folder of a pipeline, or in its own folder.

        Raises:
            FastdiffError: if it is missing, of an unsupported class, or has pickled or missing weights.
            ValueError: if its files cannot be read.
        """
        places = [
            place for place in (folder / "vae", folder / "vqvae", folder) if (place / "config.json").is_file()
        ]
        if not places:
            raise FastdiffError(f"{folder} has no vae: copy the model again completely")
        place = places[0]
        import diffusers

        check_weights(place)
        kind = read_object(place / "config.json").get("_class_name")
        if kind not in KINDS:
            raise FastdiffError(f"{place}: this {kind!r:.80} is not supported, only {', '.join(KINDS)}")
        with weights_in(None):  # SDXL's overflows in float16
            return cls.of(opened(getattr(diffusers, kind), place))

    def save(self, folder: Path) -> None:
        """Write the autoencoder into a pipeline's folder."""
        self.module.register_to_config(_name_or_path="")  # otherwise diffusers stores the folder of origin
        self.module.save_pretrained(folder / self.folder, max_shard_size="10000GB")

    def shape_of(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of images, given that of latents; raise FastdiffError if it does not fit."""
        config = self.module.config
        if len(latent) != 3 or latent[0] != config.latent_channels:
            raise FastdiffError(
                f"an autoencoder of {config.latent_channels} latent channels does not fit a network whose "
                f"samples are {tuple(latent)}: expected ({config.latent_channels}, H, W)"
            )
        side = 1 << (len(config.block_out_channels) - 1)
        return (config.out_channels, latent[1] * side, latent[2] * side)

    def latent_shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of latents, given that of images; raise FastdiffError if it does not fit."""
        config = self.module.config
        side = 1 << (len(config.block_out_channels) - 1)
        if len(image) != 3 or image[0] != config.in_channels or any(pixels % side for pixels in image[1:]):
            raise FastdiffError(
                f"images = {tuple(image)}: the autoencoder takes ({config.in_channels}, H, W) with H and W "
                f"divisible by {side}; choose a resolution, a colour, or another autoencoder"
            )
        return (config.latent_channels, image[1] // side, image[2] // side)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights and units, in hex."""
        return digest(self.module, self.scale, self.shift)

    @cached_property
    def cache_key(self) -> str:
        """The identity of the latents: the fingerprint, and the settings of the module."""
        config = dict(self.module.config).items()
        settings = {key: repr(value) for key, value in config if not key.startswith("_")}
        return identity(fingerprint=self.fingerprint, settings=settings)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, C, H, W) in [-1, 1].

        Returns:
            Mean and standard deviation (B, C', h, w) of the latents; the latter is 0 if the encoder is exact.
        """
        parts = [self.encoded(part) for part in self.slices(images, images[0, 0].numel())]
        mean, std = (torch.cat(part) for part in zip(*parts, strict=True))
        scale, shift = self.units(mean)
        return ((mean - shift) * scale).to(images), (std * scale).to(images)

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latents of images, in the module's units."""
        output = self.module.encode(images)
        if "latents" in output:
            return output.latents, torch.zeros_like(output.latents)
        return output.latent_dist.mean, output.latent_dist.std

    def decode(self, x: Tensor) -> Tensor:
        """Return the images (B, C, H, W) of latents (B, C', h, w), with gradients."""
        scale, shift = self.units(x)
        own = x / scale + shift
        _, height, width = self.shape_of(tuple(x.shape[1:]))
        images = [self.module.decode(part).sample for part in self.slices(own, height * width)]
        return torch.cat(images).to(x)

    def slices(self, x: Tensor, pixels: int) -> tuple[Tensor, ...]:
        """Split x into slices for the module, which moves to its device; `pixels`: pixels per image."""
        return x.to(self.module.to(x.device).dtype).split(max(1, MAX_PIXELS // pixels))

    def units(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return scale and shift with the device and dtype of latents x."""
        scale = self.scale.to(x) if isinstance(self.scale, Tensor) else self.scale
        shift = self.shift.to(x) if isinstance(self.shift, Tensor) else self.shift
        return scale, shift
