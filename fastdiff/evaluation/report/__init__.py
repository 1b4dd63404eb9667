"""The report of a run: a benchmark's rows as tables, pictures and a page; imports no torch.

Files:
    writers        report.md and the files of all views; figures of one model; LaTeX and CSV
    tables         groups of rows as columns of text; the terminal's table
    text           the verdict, notes, warnings and provenance
    plots          quality against cost
    grid           samples from the same noise under one another
    ranking        one picture of many models
    significance   paired differences with bootstrap intervals
    page           report.html, from page.html.j2, page.css and page.js
"""

from ..summary import metric_of, summary
from .tables import table
from .writers import csv, figures, latex, left_out, markdown, write

__all__ = ["csv", "figures", "latex", "left_out", "markdown", "metric_of", "summary", "table", "write"]
