"""METRICS, the families of metrics: the features that each needs, and the function that computes it.

fd         Frechet distance (FID in the features of Inception-v3)            lower is better
kd         kernel distance (KID in the features of Inception-v3)             lower is better
score      Inception Score                                                   higher is better
pr         precision, recall, density, coverage                              higher is better
           nearest, diversity                                                compare with real data, 1
sfd        Frechet distance of spatial features (sFID)                       lower is better
accuracy   fraction of samples classified as the class they were drawn for   higher is better
energy     energy distance                                                   lower is better
swd        sliced Wasserstein distance                                       lower is better
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch
from torch import LongTensor, Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from .frechet import Statistics, at_infinity, frechet_distance
from .kernels import (
    Discrepancy,
    Kernel,
    discrepancy,
    distance,
    polynomial,
    sliced_wasserstein,
    sums_within,
)
from .neighbours import DENSITY_NEIGHBOURS, Spread, neighbourhood, spread

KID_SUBSET_SAMPLES = 1000  # samples in a subset of torch-fidelity's KID

Values = dict[
    str, float | list[float] | Discrepancy | None
]  # by family, with or without a suffix such as _inf


@dataclass
class Collected:
    """The features of a set of samples, with quantities that depend only on that set.

    Args:
        statistics: statistics by layer, one for each fold of the samples.
        kept: features (n, dims) by layer.
        labels: class (n,) that each sample was drawn for; None without classes.
    """

    statistics: dict[str, list[Statistics]]
    kept: dict[str, Tensor]
    labels: Tensor | None = None
    _sums_within: dict[Kernel, Tensor] = field(default_factory=dict, repr=False)

    def sums_within(self, kernel: Kernel) -> Tensor:
        """Return `kernels.sums_within` of the features; cached."""
        if kernel not in self._sums_within:
            self._sums_within[kernel] = sums_within(self.kept["features"], kernel)
        return self._sums_within[kernel]

    def without(self, part: "Collected", places: LongTensor) -> "Collected":
        """Return the features of the set without a part of it.

        Args:
            part: features of the part.
            places: places (n,) of the part's examples in `kept`.
        """
        statistics = {
            layer: [whole - list(accumulate(part.statistics[layer]))[-1]]
            for layer, [whole] in self.statistics.items()
        }
        kept: dict[str, Tensor] = {}
        for layer, features in self.kept.items():
            rest = torch.ones(len(features), dtype=torch.bool)
            rest[places] = False
            kept[layer] = features[rest.to(features.device)]
        return Collected(statistics, kept)

    @cached_property
    def spread(self) -> Spread:
        """The distances within the features."""
        return spread(self.kept["features"])


@dataclass(frozen=True)
class Metric:
    """A family of metrics.

    Args:
        of: function of the generated and the real samples that returns values by family.
        statistics: layer whose statistics it needs; None for none.
        kept: layer whose features it needs; None for none.
        least: smallest number of samples for which it is defined.
    """

    of: Callable[[Collected, Collected], Values]
    statistics: str | None = None
    kept: str | None = None
    least: int = 2


def fd(made: Collected, real: Collected, layer: str = "features", name: str = "fd") -> Values:
    """Return the Frechet distance of features, FID in those of Inception-v3 (Heusel et al. 2017).

    Args:
        made: generated samples.
        real: examples of the data.
        layer: layer of the features.
        name: family under which the values are returned.

    Returns:
        The distance, 0 or above, lower is better; and as _inf its extrapolation to infinitely many samples,
        None for too few samples. Biased upward by small n: compare only equal n.
    """
    folds = made.statistics[layer]
    [reference] = real.statistics[layer]
    whole = list(accumulate(folds))[-1]
    return {name: frechet_distance(whole, reference), f"{name}_inf": at_infinity(folds, reference)}


def sfd(made: Collected, real: Collected) -> Values:
    """Return the Frechet distance of spatial features, sFID (Nash et al. 2021), and its extrapolation."""
    return fd(made, real, "spatial", "sfd")


def kernel_distance(made: Collected, real: Collected, kernel: Kernel) -> Discrepancy:
    """Return a kernel distance over all pairs of samples."""
    return discrepancy(made.kept["features"], real.kept["features"], kernel, real.sums_within(kernel))


def kd(made: Collected, real: Collected) -> Values:
    """Return the unbiased kernel distance with KID's kernel (Binkowski et al. 2018); lower is better."""
    return {"kd": kernel_distance(made, real, polynomial)}


def energy(made: Collected, real: Collected) -> Values:
    """Return the unbiased energy distance (Szekely & Rizzo 2013); lower is better."""
    return {"energy": kernel_distance(made, real, distance)}


def swd(made: Collected, real: Collected) -> Values:
    """Return the sliced Wasserstein distance (Bonneel et al. 2015), 0 or above; lower is better."""
    return {"swd": sliced_wasserstein(made.kept["features"], real.kept["features"])}


def pr(made: Collected, real: Collected) -> Values:
    """Return precision, recall, density, coverage; nearest and diversity, which compare with real data."""
    return neighbourhood(made.kept["features"], real.kept["features"], real.spread)


def score(made: Collected, real: Collected) -> Values:
    """Return the Inception Score (Salimans et al. 2016), at least 1, with its standard error."""
    found = isc_features_to_metric(made.kept["logits"].cpu())
    # torch-fidelity's deviation over ten splits divides by n; divided by sqrt(n - 1) it is a standard error
    error = found[KEY_METRIC_ISC_STD] / 3
    return {"score": found[KEY_METRIC_ISC_MEAN], "score_se": error}


def accuracy(made: Collected, real: Collected) -> Values:
    """Return the fraction of samples classified as the class they were drawn for, overall and by class.

    The accuracy is from 0 to 1; None without labels.
    """
    if made.labels is None:
        return {"accuracy": None}
    right = (made.kept["logits"].cpu().argmax(1) == made.labels).double()
    classes = [right[made.labels == label] for label in range(int(made.labels.max()) + 1)]
    by_class = [round(one.mean().item(), 4) if len(one) else None for one in classes]
    return {"accuracy": right.mean().item(), "classes": by_class}


def kid_of_subsets(made: Tensor, real: Tensor) -> float:
    """Return KID as torch-fidelity's command computes it: the mean over 100 random subsets.

    Subsets have 1000 samples, or as many as the smaller set.

    Args:
        made: features (n, dims) of generated samples.
        real: features (m, dims) of the data.
    """
    size = min(KID_SUBSET_SAMPLES, len(made), len(real))
    found = kid_features_to_metric(made.cpu(), real.cpu(), kid_subset_size=size, verbose=False)
    return found[KEY_METRIC_KID_MEAN]


METRICS: dict[str, Metric] = {
    "fd": Metric(fd, statistics="features"),
    "kd": Metric(kd, kept="features"),
    "score": Metric(score, kept="logits", least=20),
    "pr": Metric(pr, kept="features", least=DENSITY_NEIGHBOURS + 1),
    "sfd": Metric(sfd, statistics="spatial"),
    "accuracy": Metric(accuracy, kept="logits"),
    "energy": Metric(energy, kept="features"),
    "swd": Metric(swd, kept="features"),
}
