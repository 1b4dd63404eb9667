"""Random numbers per sample: a draw depends only on (seed, position of the sample, number of the draw).

The generator is counter-based (a SplitMix64 hash of the counter, Steele et al. 2014). Sample i therefore gets
the same noise in any batch, on any process and, up to rounding of cosines, on any device, and a run resumes
without a saved state.
"""

import math

import torch
from torch import Tensor

from .errors import checked_integer

GOLDEN_GAMMA = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit integer


def shifted(z: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift of int64 would repeat the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def scramble(z: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer, a bijection of 64-bit integers that separates neighbours."""
    z = (z ^ shifted(z, 30)) * -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
    z = (z ^ shifted(z, 27)) * -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
    return z ^ shifted(z, 31)


class SampleRng:
    """Independent random streams, one per sample position; each call draws the next values of all streams.

    Args:
        seed: seed of the streams.
        positions: positions (n,) int64 of the samples, for example indices of samples or counts of images.
            Objects with equal seed and position draw equal values.
        device: device of the drawn values.
    """

    def __init__(self, seed: int, positions: Tensor, device: torch.device | str = "cpu") -> None:
        seed = checked_integer("seed", seed, -(2**63), 2**63 - 1)
        positions = positions.to(device=device, dtype=torch.int64)
        self.keys = scramble(
            scramble(torch.full_like(positions, seed) + GOLDEN_GAMMA) ^ (positions * GOLDEN_GAMMA)
        )
        self.calls = 0

    def bits(self, count: int) -> Tensor:
        """Return uniformly random int64 (n, count)."""
        self.calls += 1
        stream = scramble(self.keys ^ scramble(torch.full_like(self.keys, self.calls)))
        counter = torch.arange(1, count + 1, device=stream.device) * GOLDEN_GAMMA
        return scramble(stream[:, None] + counter)

    def uniform(self) -> Tensor:
        """Return uniform float64 (n,) in (0, 1)."""
        return (shifted(self.bits(1)[:, 0], 11).double() + 0.5) * 2.0**-53

    def integers(self, low: int, high: int) -> Tensor:
        """Return uniform int64 (n,) in low, ..., high - 1."""
        return low + (self.uniform() * (high - low)).long().clamp(max=high - low - 1)

    def normal(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Return standard normal float32 (n, *shape), by Box-Muller: each 64-bit hash gives two values."""
        count = math.prod(shape)
        bits = self.bits((count + 1) // 2)
        radius = ((shifted(bits, 32).double() + 0.5) * 2.0**-32).log().mul(-2).sqrt().float()
        angle = (bits & 0xFFFFFFFF).double().mul(2 * math.pi * 2.0**-32).float()
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return pairs[:, :count].reshape(len(bits), *shape)
