"""Images as conditions: edits that start from a noised image, and inpainting, through the interface of every sampler."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .denoiser import Prediction
from .errors import FastdiffError
from .guidance import Guided
from .samplers import SAMPLERS, State, time_grid
from .samplers.state import traits
from .schedule import Schedule, blend, like

Randn = Callable[[Tensor], Tensor]


def noised_start(schedule: Schedule, image: Tensor, steps: int, spacing: str = "uniform", *, strength: float,
                 randn: Randn = torch.randn_like) -> tuple[Tensor, Tensor]:
    """The image (B, ...) noised to a share of t_max, and the grid from there, for any sampler (SDEdit, Meng et al. 2022).

    strength: above 0, nearly nothing changes, to 1, plain sampling, where nothing of the image is left at alpha = 0.
    """
    if not 0 < strength <= 1:
        raise FastdiffError(f"strength = {strength}: expected a share of t_max, above 0 and at most 1")
    times = time_grid(schedule, steps, spacing, start=strength)
    return schedule.mix(image, randn(image), times[0]), times


class Inpaint:
    """A Guided whose x0 is the image wherever the mask is 1 (known): the same call, so that every sampler inpaints.

    image, mask: of one sample or of a batch, the mask 0 and 1, and of any shape that broadcasts to the image's.
    Deterministic: along DDIM the known region is alpha image + sigma (its own first noise), and at the end the image.
    """

    def __init__(self, denoise: Guided, image: Tensor, mask: Tensor):
        self.denoise, self.image, self.known = denoise, image, known_region(mask, image)

    @property
    def schedule(self) -> Schedule:
        return self.denoise.schedule

    @property
    def nfe(self) -> int:
        return self.denoise.nfe

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        p, (alpha, sigma), image = self.denoise(x, t, s), self.schedule.alpha_sigma(t), self.image.to(x.dtype)
        return Prediction(
            torch.where(self.known, x, p.x),           # CFG++ moves its point, which the known region does not follow
            torch.where(self.known, image, p.x0),
            lambda: torch.where(self.known, (x - like(alpha, x) * image) / like(sigma, x), p.eps), p.extra)


@traits(order="1", nfe="resamplings x the sampler's", noise="every step")
def repaint(denoise: Guided, x: Tensor, times: Tensor, *, image: Tensor, mask: Tensor, sampler: str = "ddpm",
            resamplings: int = 10, jump: int = 1, randn: Randn = torch.randn_like) -> Iterator[State]:
    """RePaint (Lugmayr et al. 2022, algorithm 1): the image, noised afresh, replaces the known region after every interval.

    Each stretch of `jump` intervals is walked `resamplings` times, with fresh noise back to its start in between; the
    last one, into the data, too. Yields every interval walked. The sampler meets one interval at a time: a multistep
    one is first order here. image, mask: as in Inpaint.
    """
    if sampler not in SAMPLERS:
        raise FastdiffError(f"sampler {sampler!r} is unknown, choose from {', '.join(SAMPLERS)}")
    if min(resamplings, jump) < 1:
        raise FastdiffError(f"repaint: resamplings = {resamplings}, jump = {jump}: expected at least 1")
    known, levels, last = known_region(mask, image), denoise.schedule.levels(times), len(times) - 1
    walk, image = SAMPLERS[sampler], image.to(x.dtype)
    noise = {"randn": randn} if walk.traits["noise"] != "none" else {}
    for start in range(0, last, jump):
        end = min(start + jump, last)
        for again in range(resamplings):
            x = diffused(x, levels[end], levels[start], randn) if again else x
            for i in range(start, end):
                *_, state = walk(denoise, x, times[i : i + 2], **noise)
                alpha, sigma = levels[i + 1]
                x = torch.where(known, blend(sigma, randn(x), alpha, image) if sigma else image, state.x)
                yield State(times[i + 1], x, state.x0)


def diffused(x: Tensor, here: tuple[float, float], there: tuple[float, float], randn: Randn) -> Tensor:
    """x at one (alpha, sigma) with the noise that takes it up to another."""
    keep = there[0] / here[0]
    return blend(keep, x, max(0.0, there[1] ** 2 - (keep * here[1]) ** 2) ** 0.5, randn(x))


def known_region(mask: Tensor, image: Tensor) -> Tensor:
    """A mask of 0 and 1 as booleans, checked against the image."""
    if not ((mask == 0) | (mask == 1)).all():
        raise FastdiffError("mask: expected 1 where the image is known and 0 where it is to be drawn, nothing between")
    try:
        return (mask == 1).expand(image.shape)
    except RuntimeError:
        raise FastdiffError(f"mask {tuple(mask.shape)} does not broadcast to the image {tuple(image.shape)}") from None
