"""Data as a model of latents learns from them: images encoded and captions embedded once, into parts in the user's cache."""

from collections.abc import Callable
from functools import cached_property
from math import ceil
from typing import Any

import torch
from accelerate import Accelerator

from ..core.errors import FastdiffError
from ..core.files import cache_folder, identity
from .registry import Dataset, Readable
from .shards import Columns, Lookup, Shards, fill

PART, BATCH = 1024, 64  # examples in a part, which is what a kill can cost; and encoded at once


class Latents(Dataset):
    """A data set whose examples are latents; what identifies it is named, as its bytes stay on disk."""

    @cached_property
    def fingerprint(self) -> str:
        return identity(**self.made_of)


def encoded(data: Readable, latent: Any, accelerator: Accelerator, advance: Callable[[int], None]) -> Dataset:
    """The data with each image as mean and spread of its latent, by networks.latent.Autoencoder."""
    if not isinstance(data, Dataset):
        raise FastdiffError(
            f"data {data.name}: a stream is not encoded into latents; read it as hub, parquet or images"
        )
    what = {"data": data.fingerprint, "autoencoder": latent.fingerprint}

    def make(number: int) -> Columns:
        rows = torch.arange(number * PART, min((number + 1) * PART, len(data)))
        pairs = [latent.encode(data.get(some)[0].to(accelerator.device)) for some in rows.split(BATCH)]
        return {name: torch.cat(column) for name, column in zip(("mean", "spread"), zip(*pairs))}

    parts = fill(
        cache_folder("latents") / identity(**what),
        ceil(len(data) / PART),
        make,
        accelerator,
        lambda number: advance(min(number * PART, len(data))),
    )
    mean, spread = (Shards([part[name] for part in parts]) for name in ("mean", "spread"))
    return named(data, what, examples=mean, spread=spread)


def embedded(data: Readable, text: Any, accelerator: Accelerator, advance: Callable[[int], None]) -> Dataset:
    """The data with their captions as networks.text.TextEncoder embeds them, each different one once."""
    if not isinstance(data, Dataset) or data.captions is None:
        raise FastdiffError(
            f"data {data.name} have no captions, which this model learns from: set `captions`"
        )
    text, different = text.to(accelerator.device), list(dict.fromkeys(data.captions))
    what = {"captions": different, "text": text.fingerprint}

    def make(number: int) -> Columns:
        prompts = different[number * PART : (number + 1) * PART]
        some = [text.encode(prompts[i : i + BATCH]) for i in range(0, len(prompts), BATCH)]
        return {name: torch.cat([one[name] for one in some]) for name in some[0]}

    parts = fill(
        cache_folder("captions") / identity(**what),
        ceil(len(different) / PART),
        make,
        accelerator,
        lambda number: advance(len(data) * min(number * PART, len(different)) // len(different)),
    )
    number = {caption: i for i, caption in enumerate(different)}
    index = torch.tensor([number[caption] for caption in data.captions])
    told = {name: Lookup(Shards([part[name] for part in parts]), index) for name in parts[0]}
    return named(data, {"data": data.fingerprint, "text": text.fingerprint}, told=data.told | told)


def named(data: Dataset, made_of: dict[str, Any], **change: Any) -> Latents:
    """The data changed, identified by what they were made of."""
    latents = Latents(**{name: getattr(data, name) for name in data.__dataclass_fields__} | change)
    object.__setattr__(latents, "made_of", made_of)
    return latents
