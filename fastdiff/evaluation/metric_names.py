"""Names of metrics: the family of each, and whether less or more is better."""

from typing import Literal

Direction = Literal["lower", "higher"]

MAIN_METRICS = (
    "fid",
    "fd",
    "energy",
    "kid",
    "kd",
    "sfid",
    "sfd",
    "swd",
)  # distances, a report's main metric first
LOWER = ("fid", "fd", "kid", "kd", "sfid", "sfd", "energy", "swd", "nll")
HIGHER = ("is", "score", "precision", "recall", "density", "coverage", "accuracy", "diversity", "nearest")
FAMILIES: dict[str, Direction] = {**dict.fromkeys(LOWER, "lower"), **dict.fromkeys(HIGHER, "higher")}
UNRANKED_FAMILIES = (
    "diversity",
    "nearest",
)  # more is better up to the value of real data; pure noise has the most
SUFFIXES = (
    "_se",
    "_std",
    "_ci",
    "_min",
    "_inf",
)  # of keys that accompany a metric: errors, intervals, limits


def family(name: str) -> str:
    """Return the family of a metric's key: fd_digits -> fd, precision_inception -> precision."""
    return name.split("_")[0]


def is_metric(name: str) -> bool:
    """Return whether a key holds a metric, and not a value that accompanies one."""
    return family(name) in FAMILIES and not name.endswith(SUFFIXES)


def better(name: str) -> Direction:
    """Return which values of a metric are better, lower or higher ones."""
    return FAMILIES[family(name)]
