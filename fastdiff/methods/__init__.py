"""Methods: name -> dataclass with a loss."""

from .base import Method, Progress
from .consistency import CD, ECT
from .denoising import Denoising
from .progressive import Progressive

METHODS: dict[str, type[Method]] = {
    "denoising": Denoising, "progressive": Progressive, "ect": ECT, "consistency": ECT, "cd": CD,
}

__all__ = ["METHODS", "Method", "Progress"]
