"""The residual MLP for vectors, in diffusers' file format."""

import math
from typing import Annotated, Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.denoiser import Cond
from ..core.errors import FastdiffError
from ..core.extra_inputs import scaled_guidance
from ..core.network import Network
from .backbone import settings_of


class MLP(ModelMixin, Network, ConfigMixin):
    """A residual MLP for vectors (B, dims), with a time embedding in every block.

    Args:
        dims: dimension of a vector.
        width: width of the blocks.
        depth: number of blocks.
        classes: number of classes, 0 for none; the null class is added after them.
        learned_variance: whether the network also predicts the variance of a reverse step.
        two_times: whether the network also takes t - s.
        guided: whether the network also takes a guidance weight.
    """

    kind: ClassVar[str | None] = "mlp"
    folder: ClassVar[str | None] = "mlp"

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
        self.time = embedding_layers(width)
        self.gap = embedding_layers(width) if two_times else None
        self.guidance = embedding_layers(width) if guided else None
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.first = nn.Linear(dims, width)
        self.last = nn.Linear(width, dims * (2 if learned_variance else 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        nn.init.zeros_(self.last.weight)
        for added in (self.gap, self.guidance):
            if added is not None:
                nn.init.zeros_(added[-1].weight)
                nn.init.zeros_(added[-1].bias)

    @classmethod
    def of(cls, module: "MLP", shape: tuple[int, ...], guided: bool) -> "MLP":
        """Return a stored module for samples of a shape; raise ValueError if it produces another shape."""
        if (module.config.dims,) != tuple(shape) or module.config.guided != guided:
            raise ValueError(
                f"an MLP of {module.config.dims} dimensions, guided {module.config.guided}, cannot produce "
                f"samples of shape {tuple(shape)}, guided {guided}"
            )
        return module

    @property
    @override
    def null_label(self) -> int | None:
        return self.config.classes or None

    @property
    @override
    def learned_variance(self) -> bool:
        return self.config.learned_variance

    @override
    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        h = self.first(x)
        embedding = self.time(self.time_embedding(t).to(x))
        if self.gap is not None:
            embedding = embedding + self.gap(self.time_embedding(t - (t if s is None else s)).to(x))
        if self.guidance is not None:
            embedding = embedding + self.guidance(self.time_embedding(scaled_guidance(t, cond)).to(x))
        if self.label is not None:
            null = torch.full((len(x),), self.null_label, device=x.device)
            embedding = embedding + self.label(cond["label"] if cond and "label" in cond else null)
        for block in self.blocks:
            h = h + block(h + embedding)
        return self.last(h)

    def time_embedding(self, t: Tensor) -> Tensor:
        """Return sines and cosines (B, 64) of a time (B,), at 32 frequencies."""
        angles = t[:, None] * (torch.linspace(0, math.log(1000), 32, device=t.device).exp() / 1000)
        return torch.cat([angles.sin(), angles.cos()], 1)

    @override
    def with_second_time(self) -> "MLP":
        return self.extended(two_times=True)

    @override
    def with_guidance(self) -> "MLP":
        return self.extended(guided=True)

    def extended(self, **change: Any) -> "MLP":
        """Return a copy with one more input, without effect until it is trained; `change` adds the input."""
        net = MLP(**settings_of(self) | change).to(self.device).type(self.dtype)
        net.load_state_dict(net.state_dict() | self.state_dict())
        return net.train(self.training)

    @property
    def module(self) -> "MLP":
        """The module that is saved: the network itself, since it wraps no module of diffusers."""
        return self


def embedding_layers(width: int) -> nn.Sequential:
    """Return the layers that embed the 64 sines and cosines of a number."""
    return nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))


def mlp(
    shape: tuple[int, ...],
    classes: int = 0,
    *,
    width: Annotated[int, Field(ge=1, le=2**16)] = 128,
    depth: Annotated[int, Field(ge=0, le=1000)] = 3,
    learned_variance: bool = False,
) -> MLP:
    """Return an untrained residual MLP for vectors.

    Args:
        shape: shape of one vector, (D,).
        classes: number of classes; 0 for a network without labels. A null class is added.
        width: width of the blocks.
        depth: number of blocks, 0 to 1000.
        learned_variance: whether the network also predicts the variance of a reverse step, in as many extra
            outputs.

    Returns:
        The network, with weights drawn from torch's global generator; its last layer is zero.

    Raises:
        FastdiffError: for samples that are not vectors.

    Example:
        >>> net = mlp((2,), width=64)
        >>> net(torch.randn(5, 2), torch.full((5,), 500.0)).shape
        torch.Size([5, 2])
    """
    if len(shape) != 1:
        raise FastdiffError(f"mlp: expected vectors (D,), but the data have shape {shape}; use unet")
    return MLP(shape[0], width, depth, classes, learned_variance)
