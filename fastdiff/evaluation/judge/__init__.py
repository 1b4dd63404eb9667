"""Blind human evaluation: pairs of samples, what people answered, and what it says of the models."""

from .votes import answers, markdown, results, table

__all__ = ["answers", "markdown", "results", "table"]
