"""The metrics of generated samples, by name.

extractors.py: feature networks, opened by name or from a folder.
frechet.py: the Frechet distance and its extrapolation to infinitely many samples.
kernels.py: kernel and sliced Wasserstein distances.
pixels.py: downscaled pixels as features, where there is no network.
neighbours.py: precision, recall, density, coverage, copies and diversity.
registry.py: METRICS, the families of metrics, and the features that each needs.

Imports only from floors below the evaluation wing.
"""

from .registry import METRICS

__all__ = ["METRICS"]
