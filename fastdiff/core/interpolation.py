"""Noise levels between the entries of a table: alpha, sigma / alpha or its logarithm is linear there.

diffusers' DDIM and DDPM only use the entries; its Euler schedulers interpolate sigma / alpha, and its grids
in sigma (Karras and others) interpolate the logarithm.
"""

import torch
from torch import Tensor


def ratio(alpha: Tensor) -> Tensor:
    """Return sigma / alpha of a variance-preserving level."""
    return (1 / alpha.square() - 1).clamp(min=0).sqrt()


def growth(low: Tensor, high: Tensor) -> Tensor:
    """Return high / low, or 1 where low is 0, so that gradients stay finite."""
    return high / torch.where(low > 0, low, high)


def alpha_between(below: Tensor, above: Tensor, fraction: Tensor, between: str) -> Tensor:
    """Return alpha at a fraction of the way between two entries.

    Args:
        below: alpha at the entry of less noise, of any shape.
        above: alpha at the next entry, of the same shape.
        fraction: fraction of the way, 0 at `below` and 1 at `above`, of the same shape.
        between: what is linear: alpha, ratio, or log_ratio, which is ratio where that is 0 at `below`.
    """
    if between == "alpha":
        return torch.lerp(below, above, fraction)
    low, high = ratio(below), ratio(above)
    found = torch.lerp(low, high, fraction)
    if between == "log_ratio":
        found = torch.where(low > 0, low * growth(low, high).pow(fraction), found)
    return (1 + found.square()).rsqrt()


def alpha_slope(below: Tensor, above: Tensor, fraction: Tensor, between: str) -> Tensor:
    """Return the derivative of `alpha_between` with respect to the fraction; the arguments are the same."""
    if between == "alpha":
        return above - below
    low, high = ratio(below), ratio(above)
    alpha = alpha_between(below, above, fraction, between)
    slope = high - low
    if between == "log_ratio":
        slope = torch.where(low > 0, ratio(alpha) * growth(low, high).log(), slope)
    return -(alpha**3) * ratio(alpha) * slope


def fraction_at(below: Tensor, above: Tensor, wanted: Tensor, between: str) -> Tensor:
    """Return the fraction of the way between two entries at which sigma / alpha has a value.

    Args:
        below: alpha at the entry of less noise, of any shape.
        above: alpha at the next entry, of the same shape.
        wanted: the value of sigma / alpha, of the same shape.
        between: what is linear, ratio or log_ratio.
    """
    low, high = ratio(below), ratio(above)
    linear = (wanted - low) / (high - low)
    if between == "ratio":
        return linear
    above_data = low > 0
    gain = torch.where(above_data, growth(low, high).log(), 1.0)
    return torch.where(above_data, growth(low, wanted).log() / gain, linear)
