"""Profiling: the overhead of samplers and training steps over their networks, as ratios of times.

samplers.py: each sampler relative to forward passes of the network, and to diffusers' scheduler.
training.py: a training step of each method, relative to the passes of its networks.
passes.py: the passes through networks in a training step, recorded and repeated.
timer.py: comparable times.
record.py: the rows of a stored model, appended to speed.jsonl.

Imports only from floors below the evaluation wing.
"""

from . import samplers, training
from .record import record

__all__ = ["record", "samplers", "training"]
