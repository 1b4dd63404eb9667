"""Figures of generated samples: feature networks, and distances in their features."""

from .families import METRICS

__all__ = ["METRICS"]
