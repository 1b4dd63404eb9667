"""Broadcasting of per-sample coefficients (B,) against samples (B, ...)."""

from torch import Tensor


def like(coefficient: Tensor | float, x: Tensor) -> Tensor | float:
    """Reshape a coefficient (B,) to broadcast against x (B, ...); a scalar is returned as it is."""
    if isinstance(coefficient, float) or coefficient.ndim == 0:
        return coefficient
    return coefficient.to(x.dtype).reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))


def blend(a: Tensor | float, x: Tensor, b: Tensor | float, y: Tensor) -> Tensor:
    """Return a x + b y in two passes over memory; a and b are both numbers, or tensors (B,)."""
    if isinstance(a, float):
        return (x * a).add_(y, alpha=b)
    return like(a, x) * x + like(b, y) * y
