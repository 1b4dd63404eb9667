"""Figures of generated samples: feature networks, and distances in their features."""

from .registry import METRICS

__all__ = ["METRICS"]
