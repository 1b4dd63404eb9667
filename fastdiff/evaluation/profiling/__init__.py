"""Speed: what a sampler and what a training step add to their networks, each figure a ratio of times taken in turn."""

from . import samplers, training
from .record import record

__all__ = ["record", "samplers", "training"]
