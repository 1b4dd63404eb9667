"""A batch of examples on its device, and the rows on the host that it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..core.schedule import Schedule

SHARED, FLIP, DRAWN = 0x5EED, 0xF119, 0xD8A3  # the streams of noise beside the batch's own


@dataclass
class Batch:
    """What a method learns from: examples, their condition, and noise that is a function of their positions."""

    x0: Tensor
    cond: dict[str, Tensor] | None
    rng: SampleRng  # one stream a sample
    shared: SampleRng  # one stream for the whole batch, alike on every process
    eps: Tensor | None = None  # of stored pairs: the noise that x0 was made from

    def noise(self) -> Tensor:
        """Draw standard normal noise of the examples' shape (B, ...), new at each call."""
        return self.rng.normal(self.x0.shape[1:]).to(self.x0)

    def noised(self, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noise the examples to times t (B,); return x_t and the noise, both (B, ...)."""
        eps = self.noise()
        return schedule.mix(self.x0, eps, t), eps


@dataclass(frozen=True)
class Rows:
    """The host side of a batch, or of a share of one: examples as they are stored, and their positions.

    image: of conditions, uint8 or float32, mirrored with the examples. told: conditions that are not. spread: of latents,
    whose x0 is drawn from a normal distribution: its standard deviation.
    """

    name: str  # of the data
    start: int  # where the whole batch begins, in images seen
    positions: LongTensor  # (n,)
    x0: Tensor  # (n, ...) uint8 or float32
    labels: Tensor | None
    eps: Tensor | None = None
    image: Tensor | None = None
    told: dict[str, Tensor] = field(default_factory=dict)
    spread: Tensor | None = None

    def part(self, number: int, parts: int) -> "Rows":
        """Rows number, number + parts, ...: what batch_at gives to one of so many times more processes."""
        return self._with(lambda tensor: tensor[number::parts].contiguous())

    def pinned(self) -> "Rows":
        """A copy in page-locked memory, which a CUDA device fetches while the host goes on."""
        return self._with(Tensor.pin_memory)

    def batch(
        self, seed: int, flip: bool = False, device: torch.device | str = "cpu",
        guidance: tuple[float, float] | None = None,
    ) -> Batch:  # fmt: skip
        """The batch on a device; see batch_at."""
        here = self._with(lambda tensor: tensor.to(device, non_blocking=torch.device(device).type == "cuda"))
        x0, eps, image, positions = as_floats(here.x0), here.eps, here.image, here.positions
        image = image if image is None else as_floats(image)
        if flip and x0.ndim == 4:
            mirrored = SampleRng(seed ^ FLIP, positions, device).uniform()[:, None, None, None] < 0.5
            x0, eps, image = (
                x if x is None else torch.where(mirrored, x.flip(-1), x) for x in (x0, eps, image)
            )
        cond = {"label": here.labels, "image": image, **here.told}
        cond = {name: value for name, value in cond.items() if value is not None} or None
        rng = SampleRng(seed, positions, device)
        if here.spread is not None:
            x0 = (
                x0.float()
                + here.spread.float()
                * SampleRng(seed ^ DRAWN, positions, device).normal(x0.shape[1:]).float()
            )
        shared = SampleRng(seed ^ SHARED, torch.full((1,), self.start, device=device), device)
        if guidance:
            if cond is None or eps is not None:
                lack = "have no labels or captions" if cond is None else "were made at a single one"
                raise FastdiffError(
                    f"this student is told a weight of guidance, and the data {self.name} {lack}"
                )
            low, high = guidance
            cond |= {"guidance": (low + (high - low) * rng.uniform()).float()}
        return Batch(x0, cond, rng, shared, eps)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(
            self,
            **{name: change(x) for name, x in tensors.items() if isinstance(x, Tensor)},
            told={name: change(x) for name, x in self.told.items()},
        )


def as_floats(x0: Tensor) -> Tensor:
    """Examples as they are stored, as a model takes them: images in [-1, 1], vectors as they are."""
    return x0.float() / 127.5 - 1 if x0.dtype == torch.uint8 else x0
