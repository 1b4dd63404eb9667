"""The report of a run: the rows of its benchmark as tables, pictures and a page; imports no torch.

Files:
    writers        the files of a report; the table of one model; Markdown, LaTeX and CSV
    tables         columns of text for groups of rows; the table for the terminal
    text           the verdict, notes, warnings and provenance
    plots          quality against cost
    grid           samples of many models from the same noise, one row each
    ranking        one picture of all models, the best first
    significance   paired differences with bootstrap intervals
    page           report.html, from page.html.j2, page.css, page.js, samples.js and start.js
    ladder         the ranking on the page
    losses         the loss curves on the page
    data_uris      the pictures on the page
"""

from ..summary import metric_of, summary
from .tables import print_table, table
from .writers import csv, figures, latex, left_out, markdown, write

__all__ = [
    "csv",
    "figures",
    "latex",
    "left_out",
    "markdown",
    "metric_of",
    "print_table",
    "summary",
    "table",
    "write",
]
