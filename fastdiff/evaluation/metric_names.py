"""Names of metrics: the family of each, and whether less or more is better."""

from typing import Literal

MAIN = (
    "fid",
    "fd",
    "energy",
    "kid",
    "kd",
    "sfid",
    "sfd",
    "swd",
)  # distances, the one a report is about first
LOWER = ("fid", "fd", "kid", "kd", "sfid", "sfd", "energy", "swd", "nll")
HIGHER = ("is", "score", "precision", "recall", "density", "coverage", "accuracy", "diversity", "nearest")
FAMILIES: dict[str, Literal["lower", "higher"]] = dict.fromkeys(LOWER, "lower") | dict.fromkeys(
    HIGHER, "higher"
)
UNRANKED = ("diversity", "nearest")  # more is better up to what data have; noise has the most
SUFFIXES = ("_se", "_std", "_ci", "_min", "_inf")  # of what goes with a metric and is none itself


def family(name: str) -> str:
    """What kind of figure a key holds: fd_digits -> fd, precision_inception -> precision."""
    return name.split("_")[0]


def is_metric(name: str) -> bool:
    """Whether a key holds a figure, and not what goes with one."""
    return family(name) in FAMILIES and not name.endswith(SUFFIXES)


def better(name: str) -> Literal["lower", "higher"]:
    """Which way a metric improves."""
    return FAMILIES[family(name)]
