"""Metrics of generated samples, by name.

extractors.py: feature networks, opened by name or from a folder.
frechet.py: the Frechet distance and its limit of many samples.
kernels.py: kernel and sliced Wasserstein distances.
neighbours.py: precision, recall, density, coverage, copies and diversity.
registry.py: METRICS, the families of metrics and what each needs.

Imports from floors below the evaluation wing alone.
"""

from .registry import METRICS

__all__ = ["METRICS"]
