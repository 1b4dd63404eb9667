"""A batch of examples on its device, and the rows on the host that it is built from."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..core.schedule import Schedule

# Constants that are combined with the seed by exclusive or, so that each purpose has its own random stream.
SHARED_SEED = 0x5EED
FLIP_SEED = 0xF119
LATENT_NOISE_SEED = 0xD8A3


@dataclass
class Batch:
    """A batch of examples (B, ...), their condition, and noise that is a function of their positions."""

    x0: Tensor  # clean data (B, ...); images in [-1, 1]
    cond: dict[str, Tensor] | None
    rng: SampleRng  # one random stream for each sample
    shared: SampleRng  # one random stream for the whole batch, the same on every process
    eps: Tensor | None = None  # stored pairs only: the noise (B, ...) that x0 was generated from

    def noise(self) -> Tensor:
        """Draw standard normal noise (B, ...) of the examples' shape; each call draws anew."""
        return self.rng.normal(self.x0.shape[1:]).to(self.x0)

    def noised(self, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the examples noised to times t (B,), and the noise; both (B, ...)."""
        eps = self.noise()
        return schedule.mix(self.x0, eps, t), eps


@dataclass(frozen=True)
class Rows:
    """The host side of a batch, or of one rank's rows: examples as they are stored, and their positions."""

    name: str  # name of the data
    start: int  # number of images seen before the global batch
    positions: LongTensor  # (n,) positions of the rows in the endless sequence of examples
    x0: Tensor  # (n, ...) uint8 or float32
    labels: Tensor | None  # (n,)
    eps: Tensor | None = None  # (n, ...) noise of stored pairs
    image: Tensor | None = None  # (n, C, H, W) condition, uint8 or float32, mirrored with the examples
    conditions: dict[str, Tensor] = field(default_factory=dict)  # other conditions, which are not mirrored
    spread: Tensor | None = None  # latents only: standard deviation of the normal whose mean is x0

    def micro_batch(self, number: int, count: int) -> "Rows":
        """Return rows number, number + count, ...: one of `count` micro-batches."""
        return self._with(lambda tensor: tensor[number::count].contiguous())

    def pinned(self) -> "Rows":
        """Return a copy in page-locked memory, from which a CUDA device copies asynchronously."""
        return self._with(Tensor.pin_memory)

    def batch(
        self,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
        guidance: tuple[float, float] | None = None,
    ) -> Batch:
        """Move the rows to a device and return them as a batch; see `dataset.batch_at` for the arguments."""
        asynchronous = torch.device(device).type == "cuda"
        rows = self._with(lambda tensor: tensor.to(device, non_blocking=asynchronous))
        x0 = as_floats(rows.x0)
        eps = rows.eps
        image = None if rows.image is None else as_floats(rows.image)
        if flip and x0.ndim == 4:
            u = SampleRng(seed ^ FLIP_SEED, rows.positions, device).uniform()
            mirrored = u[:, None, None, None] < 0.5
            x0 = mirror(x0, mirrored)
            eps = None if eps is None else mirror(eps, mirrored)
            image = None if image is None else mirror(image, mirrored)
        if rows.spread is not None:
            noise = SampleRng(seed ^ LATENT_NOISE_SEED, rows.positions, device).normal(x0.shape[1:]).float()
            x0 = x0.float() + rows.spread.float() * noise
        rng = SampleRng(seed, rows.positions, device)
        shared = SampleRng(seed ^ SHARED_SEED, torch.full((1,), rows.start, device=device), device)
        cond = rows.condition(image)
        if guidance:
            if cond is None or eps is not None:
                lack = "have no labels or captions" if cond is None else "were made at a single weight"
                raise FastdiffError(f"this student takes a guidance weight, but the data {self.name} {lack}")
            low, high = guidance
            cond["guidance"] = (low + (high - low) * rng.uniform()).float()
        return Batch(x0, cond, rng, shared, eps)

    def condition(self, image: Tensor | None) -> dict[str, Tensor] | None:
        """Return the rows' condition with `image` (n, C, H, W) in it; None if there is no condition."""
        values = {"label": self.labels, "image": image, **self.conditions}
        return {name: value for name, value in values.items() if value is not None} or None

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        changed: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Tensor):
                changed[one.name] = change(value)
        changed["conditions"] = {name: change(value) for name, value in self.conditions.items()}
        return replace(self, **changed)


def as_floats(x0: Tensor) -> Tensor:
    """Return stored examples (n, ...) as a model takes them: uint8 images are mapped to [-1, 1]."""
    return x0.float() / 127.5 - 1 if x0.dtype == torch.uint8 else x0


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """Flip images (B, C, H, W) from left to right where `mirrored` (B, 1, 1, 1) is true."""
    return torch.where(mirrored, x.flip(-1), x)
