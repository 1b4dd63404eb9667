"""The names of metrics: the family of each, and whether lower or higher is better."""

from typing import Literal

Direction = Literal["lower", "higher"]

# Families of distances; the first that rows have is a report's main metric.
MAIN_METRICS = ("fid", "fd", "energy", "kid", "kd", "sfid", "sfd", "swd")
FRECHET = ("fid", "fd", "sfid", "sfd")
LOWER = ("fid", "fd", "kid", "kd", "sfid", "sfd", "energy", "swd", "nll")
HIGHER = ("is", "score", "precision", "recall", "density", "coverage", "accuracy", "diversity", "nearest")
FAMILIES: dict[str, Direction] = {**dict.fromkeys(LOWER, "lower"), **dict.fromkeys(HIGHER, "higher")}
# Higher is better only up to the value of real data; pure noise has the highest values.
UNRANKED_FAMILIES = ("diversity", "nearest")
# Suffixes of the keys that accompany a metric: errors, spreads and limits.
SUFFIXES = ("_se", "_std", "_ci", "_min", "_inf")


def family(name: str) -> str:
    """Return the family of a metric's key: fd_digits -> fd, precision_inception -> precision."""
    return name.split("_")[0]


def is_metric(name: str) -> bool:
    """Return whether a key names a metric itself, and not a value that accompanies one."""
    return family(name) in FAMILIES and not name.endswith(SUFFIXES)


def better(name: str) -> Direction:
    """Return whether lower or higher values of a metric are better."""
    return FAMILIES[family(name)]
