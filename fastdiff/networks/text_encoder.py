"""Text encoders: prompts to what a network is told of them, by the pipelines' own code."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import FastdiffError, first_line
from ..core.files import read_json
from .pretrained import check_weights, digest

# What encode_prompt of a pipeline returns, in order: keys of cond, and the same of no prompt where it makes
# that too.
TELLS = {
    "StableDiffusionPipeline": ("text", "no text"),
    "LatentConsistencyModelPipeline": ("text", "no text"),
    "StableDiffusionXLPipeline": ("text", "no text", "pooled", "no pooled"),
    "PixArtAlphaPipeline": ("text", "mask", "no text", "no mask"),
    "PixArtSigmaPipeline": ("text", "mask", "no text", "no mask"),
    "StableDiffusion3Pipeline": ("text", "no text", "pooled", "no pooled"),
    "FluxPipeline": ("text", "pooled", "ids"),
}
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast")
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
PROMPTS = 64  # that are encoded at once


class TextEncoder:
    """The tokenizers and text encoders of a pipeline of diffusers; kind: a key of TELLS.

    No child of the model that it belongs to: never trained, averaged or copied.
    parts: the pipeline's own, by their names there, and its settings; what else it would have is left out (left_out).
    """

    def __init__(self, kind: str, **parts: Any) -> None:
        import diffusers

        theirs = getattr(diffusers, kind)
        known = inspect.signature(theirs.__init__).parameters
        empty = {
            name: None for name, p in known.items() if p.default is p.empty and name not in ("self", *parts)
        }
        quiet = {"requires_safety_checker": False} if "requires_safety_checker" in known else {}
        self.kind, self.parts, self.left_out = kind, parts, empty | quiet
        self.pipeline = theirs(**self.left_out, **parts)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.float().eval().requires_grad_(False)

    @classmethod
    def open(cls, folder: Path, index: dict[str, Any] | None = None) -> "TextEncoder":
        """That of a pipeline's folder; FastdiffError or ValueError where it cannot be read. index: model_index.json's."""
        if index is None:
            index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
        if index.get("_class_name") not in TELLS:
            raise FastdiffError(
                f"{folder} holds no pipeline of diffusers with prompts: expected a model_index.json of "
                f"{', '.join(TELLS)}"
            )
        try:
            import transformers  # noqa: F401
        except ImportError:
            raise FastdiffError("prompts need transformers: pip install 'fastdiff[text]'") from None
        parts = {
            name: opened(folder / name, said[1])
            for name, said in index.items()
            if name.startswith(("text_encoder", "tokenizer"))
            and name.isidentifier()
            and isinstance(said, list)
            and said[1:] != [None]
        }
        settings = {name: index[name] for name in ("force_zeros_for_empty_prompt",) if name in index}
        if lacking := [name for name in needed(index["_class_name"]) if name not in parts]:
            raise FastdiffError(
                f"{lacking[0]} is left out of the pipeline: save it with all of its text encoders"
            )
        return cls(index["_class_name"], **parts | settings)

    @property
    def index(self) -> dict[str, Any]:
        """What model_index.json says of it; with it, `open` opens what `save` saved."""
        said = {
            name: part if isinstance(part, bool) else ["transformers", type(part).__name__]
            for name, part in self.parts.items()
        }
        return {"_class_name": self.kind} | said

    def save(self, folder: Path) -> None:
        """Write its parts into a pipeline's folder."""
        with without_bars():
            for name, part in self.parts.items():
                if not isinstance(part, bool):
                    part.save_pretrained(folder / name)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its weights and settings, and of what its tokenizers make of a few words, in hex."""
        modules = {name: part for name, part in self.parts.items() if isinstance(part, torch.nn.Module)}
        words = [
            part("a photo of 3 cats").input_ids
            for name, part in self.parts.items()
            if name.startswith("tokenizer")
        ]
        settings = {name: part for name, part in self.parts.items() if isinstance(part, bool)}
        return digest(torch.nn.ModuleDict(modules), self.kind, words, *settings.items())

    @cached_property
    def width(self) -> int:
        """Of the text that it encodes."""
        return self.null(1)["text"].shape[-1]

    def to(self, device: torch.device | str) -> "TextEncoder":
        """Itself, on a device: where it encodes, and where what it makes of prompts lies."""
        self.pipeline.to(device)
        return self

    def encode(self, prompts: list[str]) -> dict[str, Tensor]:
        """text (B, L, D), and where the network takes them pooled (B, D) and mask (B, L)."""
        parts = [self.told(prompts[start : start + PROMPTS]) for start in range(0, len(prompts), PROMPTS)]
        return {
            key: torch.cat([part[key] for part in parts]) for key in parts[0] if not key.startswith("no ")
        }

    def null(self, n: int) -> dict[str, Tensor]:
        """The same of n times no prompt."""
        return {key: value.expand(n, *value.shape[1:]) for key, value in self.nothing.items()}

    @cached_property
    def nothing(self) -> dict[str, Tensor]:
        """What no prompt is, one of it; without a guidance of its own a pipeline encodes the empty one."""
        told = self.told([""])
        return {key: told.get(f"no {key}", value) for key, value in told.items() if not key.startswith("no ")}

    @torch.no_grad()
    def told(self, prompts: list[str]) -> dict[str, Tensor]:
        """All that encode_prompt returns, by its name in TELLS."""
        values = self.pipeline.encode_prompt(prompts, device=self.pipeline.device, **self.asked(True))
        return {key: value for key, value in zip(TELLS[self.kind], values, strict=True) if key != "ids"}

    def asked(self, null: bool) -> dict[str, Any]:
        """What encode_prompt takes besides prompts and a device; null: whether it is to encode no prompt too."""
        known = inspect.signature(self.pipeline.encode_prompt).parameters
        said = {
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": null,
            "prompt_2": None,
            "prompt_3": None,
        }
        return {name: value for name, value in said.items() if name in known}


def needed(kind: str) -> list[str]:
    """The parts without which a pipeline encodes no prompt."""
    import diffusers

    theirs = getattr(diffusers, kind)
    return [
        name
        for name in inspect.signature(theirs.__init__).parameters
        if name.startswith(("text_encoder", "tokenizer")) and name not in theirs._optional_components
    ]


def opened(folder: Path, kind: Any) -> Any:
    """A tokenizer or text encoder of transformers; FastdiffError where its kind is unknown or it cannot be read."""
    if kind not in (*ENCODERS, *TOKENIZERS):
        raise FastdiffError(
            f"{folder.name}: this {kind!r:.80} is not supported, only {', '.join((*ENCODERS, *TOKENIZERS))}"
        )
    import transformers

    check_weights(folder)
    try:
        if kind in TOKENIZERS:
            if not any((folder / name).is_file() for name in VOCABULARIES):  # without, it would know no word
                raise ValueError(f"expected one of {', '.join(VOCABULARIES)}")
            tokenizer = getattr(transformers, kind)
            return tokenizer.from_pretrained(folder, local_files_only=True)
        with without_bars():
            model, told = getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        if told["missing_keys"]:
            raise ValueError(f"the weights lack {sorted(told['missing_keys'])[0]}")
        return model
    except Exception as error:  # what is broken can fail anywhere in the library
        raise FastdiffError(f"{folder.name} cannot be read: {first_line(error)}") from None


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers shows no progress, which it does however short the work is."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
