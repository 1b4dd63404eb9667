"""Blind human evaluation of pairs of samples; imports no torch.

Files:
    questions   pairs of cells, and of their images
    votes       the answers in judge.jsonl, and the results
    server      the page that shows the questions, from page.html.j2
"""

from .votes import answers, markdown, results, table

__all__ = ["answers", "markdown", "results", "table"]
