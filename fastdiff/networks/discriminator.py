"""Discriminators: heads on what the modules of a network put out, by their names, or on a trunk of their own."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError

SMALL = 4  # a side of an image that is not halved further
BLOCKS = ("transformer_blocks", "blocks")  # of networks without a middle block: their lists of blocks


class Critic(nn.Module):
    """Features [(B, C, ...) or (B, N, C)], as `tapped` collects them -> logits (B, heads): above 0 for real.

    A head is a layer norm and two layers on every place of a feature; its logit is their mean. kinds: of
    samples that are judged each among its own; forward is told the kind (B,) of each.
    """

    def __init__(self, widths: list[int], hidden: int = 128, kinds: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, kinds))
            for width in widths
        )

    def forward(self, features: list[Tensor], kind: Tensor | None = None) -> Tensor:
        own = self.heads[0][1].weight.dtype  # a teacher's features may be in half of it
        pairs = zip(self.heads, features, strict=True)
        logits = torch.stack([head(feature.to(own)).mean(1) for head, feature in pairs], 1)
        return (
            logits[..., 0] if kind is None else logits[torch.arange(len(kind), device=kind.device), :, kind]
        )


class Discriminator(nn.Module):
    """Samples [(B, C, H, W) or (B, D)], and their classes where there are -> logits (B, 1): a critic with a trunk.

    Convolutions halve images to 4 x 4 or less, of which the head sees all places at once; vectors pass an
    MLP.
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 0, hidden: int = 128) -> None:
        super().__init__()
        if len(shape) not in (1, 3):
            raise FastdiffError(
                "a critic with a trunk of its own is for vectors (D,) and images (C, H, W), the samples "
                f"have shape {tuple(shape)}"
            )
        sides = list(shape[1:])
        self.first = nn.Conv2d(shape[0], hidden, 3, padding=1) if sides else nn.Linear(shape[0], hidden)
        self.label = nn.Embedding(classes, hidden) if classes else None
        layers: list[nn.Module] = [] if sides else [nn.SiLU(), nn.Linear(hidden, hidden)]
        while sides and max(sides) > SMALL:
            layers += [nn.SiLU(), nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)]
            sides = [(side + 1) // 2 for side in sides]
        self.rest = nn.Sequential(*layers, nn.SiLU(), nn.Flatten())
        self.critic = Critic([hidden * math.prod(sides)], hidden)

    def forward(self, samples: list[Tensor], cond: Cond = None) -> Tensor:
        h = self.first(samples[0])
        if self.label is not None and "label" in (cond or ()):
            h = h + like(self.label(cond["label"]), h)
        return self.critic([tokens(self.rest(h))])


def critic_on(model: Denoiser, names: tuple[str, ...], hidden: int, views: int = 1, kinds: int = 1) -> Critic:
    """A fresh one for the features of a model's network; views: of so many samples at once, channel beside channel."""
    with torch.no_grad(), tapped(model, names) as features:
        x = torch.zeros(1, *model.shape, device=model.device)
        t = torch.tensor(model.schedule.t_max / 2, dtype=torch.float64)
        model(x, t, t, empty(model, x))
    return Critic([views * feature.shape[-1] for feature in features], hidden, kinds).to(model.device)


def empty(model: Denoiser, x: Tensor) -> dict[str, Tensor] | None:
    """Some condition for x that the network takes."""
    channels = model.condition_channels
    cond = {"label": torch.zeros(len(x), dtype=torch.long, device=x.device)} if model.classes else {}
    return (cond | ({"image": x.new_zeros(len(x), channels, *x.shape[2:])} if channels else {})) or None


@contextmanager
def tapped(model: Denoiser, names: tuple[str, ...] = ()) -> Iterator[list[Tensor]]:
    """Inside, every pass through a model leaves there what the named modules of its network put out: (B, places, C) each.

    No names: the middle one. Raises FastdiffError where there is no such module.
    """
    names = names or (middle(model.net),)
    found: list[Tensor] = [torch.empty(0)] * len(names)

    def keep(place: int) -> Callable:
        def hook(_: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            found[place] = tokens(output, len(model.shape))

        return hook

    hooks = [named(model.net, name).register_forward_hook(keep(place)) for place, name in enumerate(names)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def tokens(output: Tensor | tuple, rank: int = 3) -> Tensor:
    """What a module puts out as (B, places, C); of a tuple the last tensor, which is the image's where text is another.

    rank: of a sample, 3 of an image. What is laid out as samples are has its channels first, (B, C, ...).
    """
    x = output if isinstance(output, Tensor) else [part for part in output if isinstance(part, Tensor)][-1]
    return x[:, None] if x.ndim == 2 else x.flatten(2).transpose(1, 2) if x.ndim in (4, 5, rank + 1) else x


def apart(features: list[Tensor], count: int) -> list[list[Tensor]]:
    """The features of each of so many batches that passed a network in a row."""
    return [list(part) for part in zip(*(feature.chunk(count) for feature in features), strict=True)]


def named(net: nn.Module, name: str) -> nn.Module:
    """A network's module by its name."""
    try:
        return net.get_submodule(name)
    except AttributeError:
        some = ", ".join([own for own, _ in net.named_modules() if own][:12])
        raise FastdiffError(
            f"features: {name!r} is no module of {type(net).__name__}: choose from {some}, ...",
            key="features",
        ) from None


def middle(net: nn.Module) -> str:
    """The name of the module half way through a network."""
    prefix, module = ("module.", net.module) if hasattr(net, "module") else ("", net)
    if getattr(module, "mid_block", None) is not None:
        return f"{prefix}mid_block"
    for blocks in BLOCKS:
        if len(getattr(module, blocks, ())):
            return f"{prefix}{blocks}.{len(getattr(module, blocks)) // 2}"
    raise FastdiffError(
        f"features: {type(net).__name__} has no middle that is known: name its modules", key="features"
    )
