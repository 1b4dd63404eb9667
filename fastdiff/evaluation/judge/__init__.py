"""Blind human evaluation of pairs of samples; imports no torch.

Files:
    questions   pairs of cells, and pairs of their images
    votes       the answers in judge.jsonl, and their results
    server      the server of the page with the questions, from page.html.j2
"""

from .votes import answers, markdown, results, table

__all__ = ["answers", "markdown", "results", "table"]
