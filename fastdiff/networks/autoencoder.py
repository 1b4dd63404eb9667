"""Autoencoders: images to the latents that a model knows, and back."""

from functools import cached_property
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import read_object
from .pretrained import check_weights, digest, opened

KINDS = ("AutoencoderKL", "VQModel", "AutoencoderTiny")
PIXELS = 1 << 20  # of the images that are encoded or decoded at once: four of 512 x 512


class Autoencoder:
    """One of diffusers' KINDS with the model's units: latents = scale (its own latents - shift), of numbers or (C, 1, 1).

    No child of the model that it belongs to: never trained, averaged or copied. It follows its input to a
    device.
    """

    folder = "vae"

    def __init__(self, module: ModelMixin, scale: Tensor | float = 1.0, shift: Tensor | float = 0.0) -> None:
        self.module, self.scale, self.shift = module.eval().requires_grad_(False), scale, shift
        if type(module).__name__ == "VQModel":
            self.folder = "vqvae"  # as their pipelines call it

    @classmethod
    def of(cls, module: ModelMixin) -> "Autoencoder":
        """With the units that the module's own configuration states."""
        said, mean, std = module.config, module.config.get("latents_mean"), module.config.get("latents_std")
        scale, shift = said.get("scaling_factor") or 1.0, said.get("shift_factor") or 0.0
        if mean is None or std is None:
            return cls(module, scale, shift)
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (mean, std))
        return cls(module, scale / std, mean)

    @classmethod
    def open(cls, folder: Path) -> "Autoencoder":
        """That of a pipeline's folder, or its own; ValueError or FastdiffError where it cannot be read."""
        place = next(
            (
                place
                for place in (folder / "vae", folder / "vqvae", folder)
                if (place / "config.json").is_file()
            ),
            None,
        )
        if place is None:
            raise FastdiffError(f"{folder} has no vae: copy it again, whole")
        import diffusers

        check_weights(place)
        kind = read_object(place / "config.json").get("_class_name")
        if kind not in KINDS:
            raise FastdiffError(f"{place}: this {kind!r:.80} is not supported, only {', '.join(KINDS)}")
        return cls.of(opened(getattr(diffusers, kind), place))

    def save(self, folder: Path) -> None:
        """Write it into a pipeline's folder."""
        self.module.register_to_config(
            _name_or_path=""
        )  # or diffusers writes down the folder that it came from
        self.module.save_pretrained(folder / self.folder, max_shard_size="10000GB")

    def shape_of(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the image behind latents of a shape; FastdiffError where they are none of its own."""
        said = self.module.config
        if len(latent) != 3 or latent[0] != said.latent_channels:
            raise FastdiffError(
                f"an autoencoder of {said.latent_channels} latent channels does not fit a network whose "
                f"samples are {tuple(latent)}: expected ({said.latent_channels}, H, W)"
            )
        side = 1 << (len(said.block_out_channels) - 1)
        return (said.out_channels, latent[1] * side, latent[2] * side)

    def latent_shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the latents of images of a shape; FastdiffError where it takes none such."""
        said = self.module.config
        side = 1 << (len(said.block_out_channels) - 1)
        if len(image) != 3 or image[0] != said.in_channels or any(pixels % side for pixels in image[1:]):
            raise FastdiffError(
                f"an autoencoder of images ({said.in_channels}, H, W) that it halves to a {side}th does not "
                f"take {tuple(image)}: choose a resolution, a colour, or another autoencoder"
            )
        return (said.latent_channels, image[1] // side, image[2] // side)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its weights and units, in hex."""
        return digest(self.module, self.scale, self.shift)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and standard deviation of the latents of images (B, C, H, W) in [-1, 1]; 0 where they are exact."""
        parts = [self.encoded(part) for part in self.slices(images, images[0, 0].numel())]
        mean, std = (torch.cat(part) for part in zip(*parts, strict=True))
        scale, shift = self.units(mean)
        return ((mean - shift) * scale).to(images), (std * scale).to(images)

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same in the autoencoder's own units."""
        made = self.module.encode(images)
        if "latents" in made:
            return made.latents, torch.zeros_like(made.latents)
        return made.latent_dist.mean, made.latent_dist.std

    def decode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) of latents (B, C', h, w); gradients pass."""
        scale, shift = self.units(x)
        own, pixels = x / scale + shift, self.shape_of(tuple(x.shape[1:]))[1:]
        return torch.cat(
            [self.module.decode(part).sample for part in self.slices(own, pixels[0] * pixels[1])]
        ).to(x)

    def slices(self, x: Tensor, pixels: int) -> tuple[Tensor, ...]:
        """Batches for the module, which follows them to their device; pixels: of one image."""
        return x.to(self.module.to(x.device).dtype).split(max(1, PIXELS // pixels))

    def units(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Scale and shift for latents."""
        return tuple(
            number.to(x) if isinstance(number, Tensor) else number for number in (self.scale, self.shift)
        )
