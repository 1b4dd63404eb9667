"""Families of figures: what each needs of two sets of samples, and what it makes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from .frechet import Statistics, at_infinity, frechet_distance
from .kernels import Discrepancy, discrepancy, distance, polynomial, sliced_wasserstein
from .neighbours import DENSE, neighbourhood

SUBSETS = 1000  # samples of a subset of torch-fidelity's KID


@dataclass
class Collected:
    """What is held of a set of samples. statistics: of a layer, one for each fold; kept: a layer's features (n, dims)."""

    statistics: dict[str, list[Statistics]]
    kept: dict[str, Tensor]
    labels: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """A family of figures. of: (generated, reference) -> figures by family; at least so many samples make sense."""

    of: Callable[[Collected, Collected], dict[str, float | list[float] | Discrepancy | None]]
    statistics: str | None = None  # the layer whose sums it needs
    kept: str | None = None  # the layer whose features it needs
    least: int = 2


def fd(
    made: Collected, real: Collected, layer: str = "features", name: str = "fd"
) -> dict[str, float | None]:
    """Frechet distance, and what it would be of infinitely many samples."""
    folds, [reference] = made.statistics[layer], real.statistics[layer]
    whole = list(accumulate(folds))[-1]
    return {name: frechet_distance(whole, reference), f"{name}_inf": at_infinity(folds, reference)}


def kernel(made: Collected, real: Collected) -> dict[str, Discrepancy]:
    """Kernel distance with KID's polynomial, over all pairs."""
    return {"kd": discrepancy(made.kept["features"], real.kept["features"], polynomial)}


def energy(made: Collected, real: Collected) -> dict[str, Discrepancy]:
    """Energy distance, over all pairs."""
    return {"energy": discrepancy(made.kept["features"], real.kept["features"], distance)}


def score(made: Collected, real: Collected) -> dict[str, float]:
    """Inception Score's formula (Salimans et al. 2016), by torch-fidelity, and its standard error over ten splits."""
    found = isc_features_to_metric(made.kept["logits"].cpu())
    return {
        "score": found[KEY_METRIC_ISC_MEAN],
        "score_se": found[KEY_METRIC_ISC_STD] / 3,
    }  # ten splits, their std of n


def accuracy(made: Collected, real: Collected) -> dict[str, float | list[float] | None]:
    """The share of samples in which the feature network sees the class that was asked for, in all and of each class."""
    if made.labels is None:
        return {"accuracy": None}
    right = (made.kept["logits"].cpu().argmax(1) == made.labels).double()
    classes = [right[made.labels == label] for label in range(int(made.labels.max()) + 1)]
    by_class = [round(one.mean().item(), 4) if len(one) else None for one in classes]
    return {"accuracy": right.mean().item(), "classes": by_class}


def kid_of_subsets(made: Tensor, real: Tensor) -> float:
    """KID as torch-fidelity's command gives it: 100 random subsets of 1000, of fewer where there are fewer samples."""
    size = min(SUBSETS, len(made), len(real))
    return kid_features_to_metric(made.cpu(), real.cpu(), kid_subset_size=size, verbose=False)[
        KEY_METRIC_KID_MEAN
    ]


METRICS: dict[str, Metric] = {
    "fd": Metric(fd, statistics="features"),
    "kd": Metric(kernel, kept="features"),
    "score": Metric(score, kept="logits", least=20),
    "pr": Metric(
        lambda made, real: neighbourhood(made.kept["features"], real.kept["features"]),
        kept="features",
        least=DENSE + 1,
    ),
    "sfd": Metric(lambda made, real: fd(made, real, "spatial", "sfd"), statistics="spatial"),
    "accuracy": Metric(accuracy, kept="logits"),
    "energy": Metric(energy, kept="features"),
    "swd": Metric(
        lambda made, real: {"swd": sliced_wasserstein(made.kept["features"], real.kept["features"])},
        kept="features",
    ),
}
