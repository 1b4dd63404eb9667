"""Data for latent diffusion models: images encoded and captions embedded once, into the user's cache."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import ceil
from typing import Any

import torch
from accelerate import Accelerator
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.files import cache_folder, identity
from .dataset import Dataset, Readable
from .shards import Columns, Lookup, Shards, fill

PART_EXAMPLES = 1024  # examples per file: at most this many are encoded again after a kill
ENCODING_BATCH = 64  # examples per encoder call


@dataclass(frozen=True, eq=False)
class Latents(Dataset):
    """A data set of latents, which stay on disk; it is identified by the data and encoder behind them."""

    made_of: dict[str, Any] = field(default_factory=dict)  # fingerprints of data and encoder, by name

    @cached_property
    @override
    def fingerprint(self) -> str:
        return identity(**self.made_of)


def encoded(data: Readable, latent: Any, accelerator: Accelerator, advance: Callable[[int], None]) -> Dataset:
    """Return the data with each image replaced by the mean and standard deviation of its latent.

    Args:
        data: the images.
        latent: the networks.autoencoder.Autoencoder that encodes the images.
        accelerator: the accelerator of this process.
        advance: callback, called with the number of examples encoded so far.

    Raises:
        FastdiffError: if the data are a stream.
    """
    if not isinstance(data, Dataset):
        raise FastdiffError(
            f"data {data.name}: a stream cannot be encoded into latents; read it as hub, parquet or images"
        )
    made_of = {"data": data.fingerprint, "autoencoder": latent.cache_key}

    def make(number: int) -> Columns:
        rows = torch.arange(number * PART_EXAMPLES, min((number + 1) * PART_EXAMPLES, len(data)))
        batches = [
            latent.encode(data.get(some)[0].to(accelerator.device)) for some in rows.split(ENCODING_BATCH)
        ]
        return {
            "mean": torch.cat([mean for mean, _ in batches]),
            "spread": torch.cat([spread for _, spread in batches]),
        }

    parts = fill(
        cache_folder("latents") / identity(**made_of),
        ceil(len(data) / PART_EXAMPLES),
        make,
        accelerator,
        lambda number: advance(min(number * PART_EXAMPLES, len(data))),
    )
    return latents_of(
        data,
        made_of,
        examples=Shards([part["mean"] for part in parts]),
        spread=Shards([part["spread"] for part in parts]),
    )


def embedded(data: Readable, text: Any, accelerator: Accelerator, advance: Callable[[int], None]) -> Dataset:
    """Return the data with embedded captions as conditions; each distinct caption is embedded once.

    Args:
        data: captioned examples.
        text: the networks.text_encoder.TextEncoder that embeds the captions.
        accelerator: the accelerator of this process.
        advance: callback, called with the number of examples embedded so far.

    Raises:
        FastdiffError: if the data have no captions.
    """
    if not isinstance(data, Dataset) or data.captions is None:
        raise FastdiffError(
            f"data {data.name}: no captions, and this model is trained on prompts; set `captions`"
        )
    text = text.to(accelerator.device)
    different = list(dict.fromkeys(data.captions))

    def make(number: int) -> Columns:
        prompts = different[number * PART_EXAMPLES : (number + 1) * PART_EXAMPLES]
        batches = [
            text.encode(prompts[i : i + ENCODING_BATCH]) for i in range(0, len(prompts), ENCODING_BATCH)
        ]
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    parts = fill(
        cache_folder("captions") / identity(captions=different, text=text.cache_key),
        ceil(len(different) / PART_EXAMPLES),
        make,
        accelerator,
        lambda number: advance(len(data) * min(number * PART_EXAMPLES, len(different)) // len(different)),
    )
    number_of = {caption: number for number, caption in enumerate(different)}
    index = torch.tensor([number_of[caption] for caption in data.captions])
    embeddings = {name: Lookup(Shards([part[name] for part in parts]), index) for name in parts[0]}
    return latents_of(
        data,
        {"data": data.fingerprint, "text": text.cache_key},
        conditions=data.conditions | embeddings,
    )


def latents_of(data: Dataset, made_of: dict[str, Any], **changes: Any) -> Latents:
    """Return the data with some fields changed, identified by fingerprints of their origins.

    Args:
        data: the data.
        made_of: fingerprints of the data and of the encoder, by name.
        changes: the changed fields.
    """
    columns = {one.name: getattr(data, one.name) for one in fields(data)}
    return Latents(**columns | changes | {"made_of": made_of})
