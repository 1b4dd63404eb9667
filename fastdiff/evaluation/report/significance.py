"""Significance tests: paired differences of kernel metrics with bootstrap intervals.

A kernel metric is close to linear in its samples, metric ~ const + mean(generated) + mean(reference), and a
sweep saves these terms in influence/<row key>.safetensors: resampling them with replacement gives the
interval of a difference without the features. Cells of equal seed start from the same noise and all cells
share the reference, so both are resampled in pairs, and the noise that two cells share cancels.

Fréchet distances are not resampled: they are not linear, and a resample holds fewer distinct samples, so that
nearly every resample lies above the value itself, by more than the width of the interval.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from ..comparison import COMPARISON_FIELDS
from ..formatting import finite
from ..metric_names import family
from ..summary import CELL_FIELDS, current_rows, metrics_of, summary

KERNEL = ("kid", "kd", "energy")
CHUNK = 2**21  # terms resampled per pass


class Terms(NamedTuple):
    """The value of a row, and its first-order terms for each sample (n,) and each reference example (m,)."""

    figure: float
    generated: np.ndarray
    reference: np.ndarray


Rival = tuple[dict, dict[int, Terms]]  # a group, and its terms by seed


def differences(rows: list[dict], run_dir: str | Path, draws: int = 2000) -> list[dict]:
    """Compare each student, and the teacher's best solver, with the best of them at equal steps and n.

    Args:
        rows: rows of bench.jsonl.
        run_dir: folder of the run; rows without a file in influence/ are left out.
        draws: number of bootstrap resamples.

    Returns:
        A dict for each pair: `a`, `b` (the better one), `steps`, `metric` (the kernel metric), `difference`
        = a - b over the seeds that both have, and `low` and `high`, the ends of its 95 % interval; the two
        differ significantly if 0 lies outside.
    """
    metric = next((name for name in metrics_of(rows) if family(name) in KERNEL), None)
    sizes: dict[tuple, list[Rival]] = {}
    for group in summary(rows) if metric else ():
        terms = _terms(group, rows, metric, Path(run_dir) / "influence")
        if terms and finite(group[metric]):
            size = (group["steps"], *(group.get(name) for name in COMPARISON_FIELDS))
            sizes.setdefault(size, []).append((group, terms))
    ordered = sorted(sizes.items(), key=lambda pair: pair[0][:2])
    return [line for _, rivals in ordered for line in _against_best(rivals, metric, draws)]


def interval(a: list[Terms], b: list[Terms], draws: int = 2000) -> tuple[float, float, float]:
    """Return the difference a - b over one or more seeds, and the ends of its 95 % interval."""
    rng = np.random.default_rng(0)
    middle = fmean(x.figure - y.figure for x, y in zip(a, b))
    noise = np.concatenate([x.generated - y.generated for x, y in zip(a, b)])
    data = np.mean(
        [x.reference - y.reference for x, y in zip(a, b)], axis=0
    )  # all seeds share the reference examples
    low, high = middle + np.quantile(_drawn(noise, draws, rng) + _drawn(data, draws, rng), (0.025, 0.975))
    return middle, float(low), float(high)


def _against_best(rivals: list[Rival], metric: str, draws: int) -> Iterator[dict]:
    """Yield the differences of one step count and n, the smallest first."""
    teachers = sorted((rival for rival in rivals if rival[0]["teacher"]), key=lambda rival: rival[0][metric])
    rivals = [rival for rival in rivals if not rival[0]["teacher"]] + teachers[:1]
    (best, best_terms), *others = sorted(rivals, key=lambda rival: rival[0][metric])
    for group, own_terms in others:
        shapes = {seed: _shapes(terms) for seed, terms in best_terms.items()}
        seeds = [seed for seed, terms in own_terms.items() if _shapes(terms) == shapes.get(seed)]
        if seeds:
            a = [own_terms[seed] for seed in seeds]
            b = [best_terms[seed] for seed in seeds]
            middle, low, high = interval(a, b, draws)
            yield {
                "a": group["line"],
                "b": best["line"],
                "steps": group["steps"],
                "metric": metric,
                "difference": middle,
                "low": low,
                "high": high,
            }


def _shapes(terms: Terms) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a row's terms."""
    return terms.generated.shape, terms.reference.shape


def _terms(group: dict, rows: list[dict], metric: str, folder: Path) -> dict[int, Terms]:
    """Return the terms of a group's rows by seed, of the rows that have a file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found = {}
    for row in current_rows(rows):
        path = folder / f"{row['key']}.safetensors"
        if (
            all(row.get(name) == group[name] for name in CELL_FIELDS)
            and finite(row.get(metric))
            and path.exists()
        ):
            with suppress(SafetensorError, KeyError):  # damaged, or of another metric: left out
                kept = load_file(path)
                parts = (kept[f"{metric}.{side}"].astype(np.float64) for side in ("generated", "reference"))
                found[row["seed"]] = Terms(row[metric], *parts)
    return found


def _drawn(terms: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the shifts (draws,) of the mean of n terms when they are resampled with replacement."""
    n = len(terms)
    length = max(1, CHUNK // n)
    chunks = [min(start + length, draws) - start for start in range(0, draws, length)]
    means = [terms[rng.integers(n, size=(size, n), dtype=np.int32)].mean(axis=1) for size in chunks]
    return np.concatenate(means) - terms.mean()
