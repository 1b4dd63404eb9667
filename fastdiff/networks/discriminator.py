"""Discriminators: heads on features of another network, or on their own trunk."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError

ENCODER = "encoder"  # in a list of features, the blocks from the input to the middle, see `encoder`
MIN_SIDE = 4  # side in pixels that is not halved further
BLOCK_LISTS = (
    "transformer_blocks",
    "blocks",
)  # names of lists of blocks, in networks without a middle block


class DiscriminatorHeads(nn.Module):
    """The heads of a discriminator: features (B, places, C) to logits (B, heads), above 0 for real.

    A head is a layer norm and two layers, applied at every place of a feature; its logit is the mean over
    places.

    Args:
        widths: number of channels of each feature.
        hidden: width of the heads.
        kinds: number of kinds of samples, each with its own logits; forward takes the kind (B,) of each
            sample.
    """

    def __init__(self, widths: list[int], hidden: int = 128, kinds: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, kinds))
            for width in widths
        )

    @override
    def forward(self, features: list[Tensor], kind: Tensor | None = None) -> Tensor:
        dtype = self.heads[0][1].weight.dtype  # a teacher's features may be of half precision
        pairs = zip(self.heads, features, strict=True)
        logits = torch.stack([head(feature.to(dtype)).mean(1) for head, feature in pairs], 1)
        if kind is None:
            return logits[..., 0]
        return logits[torch.arange(len(kind), device=kind.device), :, kind]


class Discriminator(nn.Module):
    """A discriminator with its own trunk: samples [(B, C, H, W) or (B, D)] and classes to logits (B, 1).

    Convolutions halve images until they are 4 x 4 or smaller, and the head takes all places at once; vectors
    go through an MLP.

    Args:
        shape: shape of one sample, (C, H, W) or (D,).
        classes: number of classes, 0 for none.
        hidden: width of its layers.

    Raises:
        FastdiffError: for samples that are neither images nor vectors.
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 0, hidden: int = 128) -> None:
        super().__init__()
        if len(shape) not in (1, 3):
            raise FastdiffError(
                f"shape = {tuple(shape)}: a discriminator with its own trunk expected vectors (D,) or images "
                "(C, H, W)"
            )
        sides = list(shape[1:])
        self.first = nn.Conv2d(shape[0], hidden, 3, padding=1) if sides else nn.Linear(shape[0], hidden)
        self.label = nn.Embedding(classes, hidden) if classes else None
        layers: list[nn.Module] = [] if sides else [nn.SiLU(), nn.Linear(hidden, hidden)]
        while sides and max(sides) > MIN_SIDE:
            layers += [nn.SiLU(), nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)]
            sides = [(side + 1) // 2 for side in sides]
        self.rest = nn.Sequential(*layers, nn.SiLU(), nn.Flatten())
        self.discriminator = DiscriminatorHeads([hidden * math.prod(sides)], hidden)

    @override
    def forward(self, samples: list[Tensor], cond: Cond = None) -> Tensor:
        h = self.first(samples[0])
        if self.label is not None and "label" in (cond or ()):
            h = h + like(self.label(cond["label"]), h)
        return self.discriminator([tokens(self.rest(h))])


def discriminator_on(
    model: Denoiser, names: tuple[str, ...], hidden: int, views: int = 1, kinds: int = 1
) -> DiscriminatorHeads:
    """Return an untrained discriminator for the features of a model's network.

    Args:
        model: model whose network provides the features.
        names: names of the network's modules, see `expanded`.
        hidden: width of the heads.
        views: number of samples whose features are concatenated in channels.
        kinds: number of kinds of samples, see DiscriminatorHeads.
    """
    with torch.no_grad(), capture_features(model, names) as features:
        x = torch.zeros(1, *model.shape, device=model.device)
        t = torch.tensor(model.schedule.t_max / 2, dtype=torch.float64)
        model(x, t, t, empty(model, x))
    return DiscriminatorHeads([views * feature.shape[-1] for feature in features], hidden, kinds).to(
        model.device
    )


def empty(model: Denoiser, x: Tensor) -> dict[str, Tensor] | None:
    """Return a condition of zeros for x (B, ...); None for a model without conditions."""
    cond = {}
    if model.classes:
        cond["label"] = torch.zeros(len(x), dtype=torch.long, device=x.device)
    if model.condition_channels:
        cond["image"] = x.new_zeros(len(x), model.condition_channels, *x.shape[2:])
    return cond or None


@contextmanager
def capture_features(model: Denoiser, names: tuple[str, ...] = ()) -> Iterator[list[Tensor]]:
    """Capture the outputs of modules of a model's network: every forward pass in the context fills the list.

    Args:
        model: model whose network is run.
        names: names of the network's modules, see `expanded`.

    Yields:
        The list of features (B, places, C).

    Raises:
        FastdiffError: for a module that does not exist.
    """
    names = expanded(model.net, names)
    features: list[Tensor] = [torch.empty(0)] * len(names)

    def keep(place: int) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            features[place] = tokens(output, len(model.shape))

        return hook

    hooks = [named(model.net, name).register_forward_hook(keep(place)) for place, name in enumerate(names)]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def tokens(output: Tensor | tuple, rank: int = 3) -> Tensor:
    """Return a module's output as (B, places, C).

    Args:
        output: output of the module; the last tensor of a tuple, which is that of the image if another one
            is that of the text.
        rank: number of dimensions of a sample, 3 for an image. Outputs with the layout of samples have
            channels first, (B, C, ...).
    """
    x = output if isinstance(output, Tensor) else [part for part in output if isinstance(part, Tensor)][-1]
    if x.ndim == 2:
        return x[:, None]
    return x.flatten(2).transpose(1, 2) if x.ndim in (4, 5, rank + 1) else x


def apart(features: list[Tensor], count: int) -> list[list[Tensor]]:
    """Split features of a concatenated batch into those of its `count` batches."""
    return [list(part) for part in zip(*(feature.chunk(count) for feature in features), strict=True)]


def named(net: nn.Module, name: str) -> nn.Module:
    """Return a module of a network by its name; raise FastdiffError if it does not exist."""
    try:
        return net.get_submodule(name)
    except AttributeError:
        some = ", ".join([own for own, _ in net.named_modules() if own][:12])
        raise FastdiffError(
            f"features: {name!r} is not a module of {type(net).__name__}: choose from {some}, ...",
            key="features",
        ) from None


def expanded(net: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of a network's modules: the given ones, where ENCODER stands for the encoder's blocks.

    Args:
        net: the network.
        names: names of modules, or ENCODER; the middle module if empty.
    """
    given = [encoder(net) if name == ENCODER else (name,) for name in names]
    return tuple(dict.fromkeys(chain.from_iterable(given))) or (middle(net),)


def encoder(net: nn.Module) -> tuple[str, ...]:
    """Return the names of modules from a network's input to its middle.

    For a U-Net, every block of the encoder and the middle one; for a stack of blocks, the first block and the
    ones at a quarter and half of its depth.

    Raises:
        FastdiffError: if the network has neither.
    """
    prefix, module = inner(net)
    last = middle(net)
    if len(getattr(module, "down_blocks", None) or ()):
        return (*(f"{prefix}down_blocks.{i}" for i in range(len(module.down_blocks))), last)
    blocks, _, half = last.rpartition(".")
    if not half.isdecimal():
        return (last,)
    return tuple(f"{blocks}.{i}" for i in sorted({0, int(half) // 2, int(half)}))


def middle(net: nn.Module) -> str:
    """Return the name of the module half way through a network; raise FastdiffError if it is unknown."""
    prefix, module = inner(net)
    if getattr(module, "mid_block", None) is not None:
        return f"{prefix}mid_block"
    for blocks in BLOCK_LISTS:
        if len(getattr(module, blocks, ())):
            return f"{prefix}{blocks}.{len(getattr(module, blocks)) // 2}"
    raise FastdiffError(
        f"features: the middle of {type(net).__name__} is unknown: name its modules", key="features"
    )


def inner(net: nn.Module) -> tuple[str, nn.Module]:
    """Return the prefix of the names and the module of a network that wraps another program's, or itself."""
    return ("module.", net.module) if hasattr(net, "module") else ("", net)
