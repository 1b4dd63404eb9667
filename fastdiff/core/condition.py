"""Conditions of samples: a dict of tensors by name, with one row per sample; None for no condition.

    key        shape          content
    label      (B,)           class of the sample, int64 from 0; a model's null class stands for no class
    text       (B, L, D)      embeddings of the prompt's tokens
    pooled     (B, D)         one embedding of the whole prompt (SDXL, SD3, Flux)
    mask       (B, L)         1 where a token counts, 0 at padding (PixArt)
    null text, null pooled, null mask: the same of a negative prompt, only for the null branch of guidance
    image      (B, C, h, w)   condition image in [-1, 1], which the network resizes to its input
    guidance   (B,)           guidance weight, for a guidance-distilled network
    time_ids   (B, 6)         SDXL's sizes in pixels: height and width of the original, top and left of the
                              crop, height and width of the image; by default an uncropped image of its size

A network reads only the keys that it takes. A missing label counts as the null class, a missing text as the
empty prompt, and a missing guidance weight as 1.
"""

from typing import Any

import torch
from torch import Tensor

Cond = dict[str, Tensor] | None

NO_LABEL = -1  # label for which a network without a null class leaves out its class embedding
PROMPT_KEYS = ("text", "pooled", "mask")  # the keys that hold an embedded prompt
NEGATIVE_KEYS = {key: f"null {key}" for key in PROMPT_KEYS}  # those of the negative prompt


def with_label(cond: Cond, x: Tensor) -> dict[str, Tensor]:
    """Return a condition of samples x (B, ...) whose label, if it has none, is NO_LABEL."""
    if cond and "label" in cond:
        return cond
    return (cond or {}) | {"label": torch.full((len(x),), NO_LABEL, device=x.device)}


def without_negative(cond: Cond) -> Cond:
    """Return the condition of the guided branch, without the negative prompt; None stays None."""
    return cond and {name: value for name, value in cond.items() if name not in NEGATIVE_KEYS.values()}


def null_prompt(cond: dict[str, Tensor], text: Any) -> dict[str, Tensor]:
    """Return the embedded prompt of the null branch, with the keys of PROMPT_KEYS; {} without a prompt.

    Args:
        cond: condition of the guided branch; its negative prompt, if it has one, is the null branch's prompt.
        text: the text encoder, whose null embedding is taken otherwise; None without prompts.
    """
    if "text" not in cond:
        return {}
    if "null text" in cond:
        return {name: cond[own] for name, own in NEGATIVE_KEYS.items() if own in cond}
    return {name: value.to(cond[name]) for name, value in text.null(len(cond["text"])).items()}
