"""The views of a benchmark's rows: terminal table, Markdown, LaTeX, CSV, plots, and one HTML page."""

from fastdiff.rows import metric_of, summary

from .files import csv, figures, latex, left_out, markdown, write
from .tables import table

__all__ = ["csv", "figures", "latex", "left_out", "markdown", "metric_of", "summary", "table", "write"]
