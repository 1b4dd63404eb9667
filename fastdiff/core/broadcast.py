"""Coefficients of each sample against tensors of samples."""

from torch import Tensor


def like(coefficient: Tensor | float, x: Tensor) -> Tensor | float:
    """Return a coefficient (B,) with trailing axes to broadcast against x (B, ...); a scalar as it is."""
    if isinstance(coefficient, float) or coefficient.ndim == 0:
        return coefficient
    return coefficient.to(x.dtype).reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))


def blend(a: Tensor | float, x: Tensor, b: Tensor | float, y: Tensor) -> Tensor:
    """Return a x + b y, in two passes over memory; a and b are numbers, or (B,) for one of each sample."""
    if isinstance(a, float):
        return (x * a).add_(y, alpha=b)
    return like(a, x) * x + like(b, y) * y
