"""The texts of figures: three significant digits, spreads to the same decimals, signs of differences."""

import math


def figure(mean: float | None, spread: float | None = None) -> str:
    """Format a number to three significant digits, and its spread to the same decimals: 24.1 ± 0.3.

    A number below its spread has the decimals of three digits of the spread: 0.015 ± 0.809.
    """
    if mean is None:
        return "–"
    if not math.isfinite(mean):
        return "diverged"
    spread_text = ""
    if 0 < abs(mean) < 10**-5 and not (spread and spread > 10**-5):
        if spread is not None:
            spread_text = f" ± {spread:.0e}"
        return f"{mean:.2e}{spread_text}"
    scale = max(abs(mean), spread or 0)
    needed = [_decimals(number, digits) for number, digits in ((scale, 3), (spread, 1)) if number]
    decimals = min(max([0, *needed]), 6)
    if spread is not None:
        spread_text = f" ± {spread:.{decimals}f}"
    return f"{mean + 0.0:.{decimals}f}{spread_text}"


def _decimals(number: float, digits: int) -> int:
    """Return the number of decimals that show a number of significant digits; below 0 for large numbers."""
    exponent = int(f"{number:.{digits - 1}e}".split("e")[1])
    return digits - 1 - exponent


def ratio(times: float) -> str:
    """Format a ratio to two significant digits, and a large one without decimals: 0.85, 1.3, 410."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2g}"


def finite(value: float | None) -> bool:
    """Return whether a value is a finite number: neither missing nor diverged."""
    return value is not None and math.isfinite(value)


def signed(value: float, spread: float | None = None) -> str:
    """Format a difference as `figure` does, with its sign: +2.74 ± 0.90, −0.120."""
    text = figure(value, spread)
    return text.replace("-", "−", 1) if text.startswith("-") else f"+{text}"
