"""Speed: the time that samplers and training steps add to their networks, as ratios of times taken in turn.

samplers.py: each sampler over bare forward passes, and next to diffusers' scheduler of the same steps.
training.py: each method's training step over the passes of its networks.
passes.py: the passes through networks that a step makes, recorded and repeated.
timer.py: times that can be compared.
record.py: the rows of a stored model, appended to speed.jsonl.

Imports from floors below the evaluation wing alone.
"""

from . import samplers, training
from .record import record

__all__ = ["record", "samplers", "training"]
