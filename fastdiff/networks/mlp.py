"""A residual MLP for vectors, in diffusers' file format."""

import math
from typing import Annotated

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from pydantic import Field
from torch import Tensor, nn

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from ..core.extra_inputs import told
from ..core.network import Network


class MLP(ModelMixin, Network, ConfigMixin):
    """Vectors (B, dims); the time enters every block through sines and cosines.

    So does t - s of one of two times, and the weight of guidance of one that is told it (guided).
    """

    kind = folder = "mlp"

    @register_to_config
    def __init__(
        self,
        dims: int = 2,
        width: int = 128,
        depth: int = 3,
        classes: int = 0,
        learned_variance: bool = False,
        two_times: bool = False,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.time = from_waves(width)
        self.gap = from_waves(width) if two_times else None
        self.guidance = from_waves(width) if guided else None
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.first, self.last = (
            nn.Linear(dims, width),
            nn.Linear(width, dims * (2 if learned_variance else 1)),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        nn.init.zeros_(self.last.weight)
        for added in filter(None, (self.gap, self.guidance)):
            nn.init.zeros_(added[-1].weight)
            nn.init.zeros_(added[-1].bias)

    @classmethod
    def of(cls, module: "MLP", shape: tuple[int, ...], guided: bool) -> "MLP":
        """A stored module for samples of a shape; ValueError where it is one of others."""
        if (module.config.dims,) != tuple(shape) or module.config.guided != guided:
            raise ValueError(
                f"an MLP of {module.config.dims} dimensions, guided {module.config.guided}, makes no samples "
                f"of shape {tuple(shape)}, guided {guided}"
            )
        return module

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None where the network takes no labels."""
        return self.config.classes or None

    @property
    def learned_variance(self) -> bool:
        """Whether the second half of its output is the variance of a reverse step."""
        return self.config.learned_variance

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        h, embedding = self.first(x), self.time(self.waves(t).to(x))
        if self.gap is not None:
            embedding = embedding + self.gap(self.waves(t - (t if s is None else s)).to(x))
        if self.guidance is not None:
            embedding = embedding + self.guidance(self.waves(told(t, cond)).to(x))
        if self.label is not None:
            null = torch.full((len(x),), self.null_label, device=x.device)
            embedding = embedding + self.label(cond["label"] if cond and "label" in cond else null)
        for block in self.blocks:
            h = h + block(h + embedding)
        return self.last(h)

    def waves(self, t: Tensor) -> Tensor:
        """Sines and cosines (B, 64) of a time."""
        angles = t[:, None] * (torch.linspace(0, math.log(1000), 32, device=t.device).exp() / 1000)
        return torch.cat([angles.sin(), angles.cos()], 1)

    def with_second_time(self) -> "MLP":
        """A copy that also sees s; until it is trained it does what this one does."""
        return self.extended(two_times=True)

    def with_guidance(self) -> "MLP":
        """A copy that is also told a weight of guidance; until it is trained it does what this one does."""
        return self.extended(guided=True)

    def extended(self, **more: bool) -> "MLP":
        """A copy with one more input."""
        config = {
            k: v for k, v in self.config.items() if not k.startswith("_")
        }  # the others are diffusers' notes
        net = MLP(**config | more).to(self.device).type(self.dtype)
        net.load_state_dict(net.state_dict() | self.state_dict())
        return net.train(self.training)

    @property
    def module(self) -> "MLP":
        return self


def from_waves(width: int) -> nn.Sequential:
    """What is made of the 64 sines and cosines of a number."""
    return nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))


def mlp(
    shape: tuple[int, ...],
    classes: int = 0,
    *,
    width: Annotated[int, Field(ge=1, le=2**16)] = 128,
    depth: Annotated[int, Field(ge=0, le=1000)] = 3,
    learned_variance: bool = False,
) -> MLP:
    """A fresh MLP of `depth` residual blocks; learned_variance: twice the outputs, for the variance of a reverse step."""
    if len(shape) != 1:
        raise FastdiffError(f"mlp expects vectors (D,), the data have shape {shape}; use unet")
    return MLP(shape[0], width, depth, classes, learned_variance)
