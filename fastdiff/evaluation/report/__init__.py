"""The views of a benchmark's rows: terminal table, Markdown, LaTeX, CSV, plots, and one HTML page."""

from ..summary import metric_of, summary
from .tables import table
from .writers import csv, figures, latex, left_out, markdown, write

__all__ = ["csv", "figures", "latex", "left_out", "markdown", "metric_of", "summary", "table", "write"]
