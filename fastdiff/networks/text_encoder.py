"""Text encoders: prompts to the embeddings that a network takes, by the pipelines' own code."""

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

# The values that encode_prompt of a pipeline returns, in order: keys of Cond, and "no" before those of the
# empty prompt if it returns them too.
PROMPT_OUTPUTS = {
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
EMPTY_PROMPT_SETTING = "force_zeros_for_empty_prompt"  # the setting of a pipeline that changes its embeddings
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
MAX_PROMPTS = 64  # most prompts that are encoded at once


class TextEncoder:
    """The tokenizers and text encoders of a pipeline of diffusers.

    It is not a submodule of the model that it belongs to: it is never trained, averaged or copied.

    Args:
        kind: class of the pipeline, a key of TELLS.
        parts: its tokenizers and encoders by their names there, and its settings.

    Attributes:
        left_out: arguments with which the pipeline is made without its other components.
    """

    def __init__(self, kind: str, **parts: Any) -> None:
        import diffusers

        pipeline = getattr(diffusers, kind)
        known = inspect.signature(pipeline.__init__).parameters
        needed = [name for name, p in known.items() if p.default is p.empty and name != "self"]
        self.kind = kind
        self.parts = parts
        self.left_out: dict[str, Any] = {name: None for name in needed if name not in parts}
        if "requires_safety_checker" in known:
            self.left_out["requires_safety_checker"] = False
        self.pipeline = pipeline(**self.left_out, **parts)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.float().eval().requires_grad_(False)

    @classmethod
    def open(cls, folder: Path, index: dict[str, Any] | None = None) -> "TextEncoder":
        """Open the text encoder in a pipeline's folder.

        Args:
            folder: the folder.
            index: the contents of its model_index.json; None to read them.

        Raises:
            FastdiffError: for a pipeline without prompts, for parts that are missing or not supported, and if
                transformers is missing.
            ValueError: if model_index.json cannot be read.
        """
        if index is None:
            file = folder / "model_index.json"
            index = read_json(file) if file.is_file() else {}
        if index.get("_class_name") not in PROMPT_OUTPUTS:
            raise FastdiffError(
                f"{folder} holds no pipeline of diffusers with prompts: expected a model_index.json of "
                f"{', '.join(PROMPT_OUTPUTS)}"
            )
        try:
            import transformers  # noqa: F401
        except ImportError:
            raise FastdiffError("prompts need transformers: pip install 'fastdiff[text]'") from None
        parts = {}
        for name, entry in index.items():
            ours = name.startswith(("text_encoder", "tokenizer")) and name.isidentifier()
            if ours and isinstance(entry, list) and entry[1:] != [None]:
                parts[name] = opened(folder / name, entry[1])
        for name in required_parts(index["_class_name"]):
            if name not in parts:
                raise FastdiffError(
                    f"{name} is left out of the pipeline: save it with all of its text encoders"
                )
        if EMPTY_PROMPT_SETTING in index:
            parts[EMPTY_PROMPT_SETTING] = index[EMPTY_PROMPT_SETTING]
        return cls(index["_class_name"], **parts)

    @property
    def index(self) -> dict[str, Any]:
        """Its entries of model_index.json, with which `open` opens the folder that `save` has written."""
        index: dict[str, Any] = {"_class_name": self.kind}
        for name, part in self.parts.items():
            index[name] = part if isinstance(part, bool) else ["transformers", type(part).__name__]
        return index

    def save(self, folder: Path) -> None:
        """Write its parts into a pipeline's folder."""
        with without_bars():
            for name, part in self.parts.items():
                if not isinstance(part, bool):
                    part.save_pretrained(folder / name)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of its weights and settings, and of its tokens of a few words, in hex."""
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
        """The number of channels of the text's embeddings."""
        return self.null(1)["text"].shape[-1]

    def to(self, device: torch.device | str) -> "TextEncoder":
        """Move it to a device, where it encodes and where its embeddings are; return itself."""
        self.pipeline.to(device)
        return self

    def encode(self, prompts: list[str]) -> dict[str, Tensor]:
        """Embed prompts.

        Returns:
            text (B, L, D), and for pipelines that have them pooled (B, D) and mask (B, L).
        """
        starts = range(0, len(prompts), MAX_PROMPTS)
        parts = [self.encode_prompts(prompts[start : start + MAX_PROMPTS]) for start in starts]
        keys = [key for key in parts[0] if not key.startswith("no ")]
        return {key: torch.cat([part[key] for part in parts]) for key in keys}

    def null(self, n: int) -> dict[str, Tensor]:
        """Return the embeddings of no prompt, n times; the keys are those of `encode`."""
        return {key: value.expand(n, *value.shape[1:]) for key, value in self.null_row.items()}

    @cached_property
    def null_row(self) -> dict[str, Tensor]:
        """The embedding of no prompt: the pipeline's own, or else that of the empty prompt."""
        values = self.encode_prompts([""])
        keys = [key for key in values if not key.startswith("no ")]
        return {key: values.get(f"no {key}", values[key]) for key in keys}

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """Return all values of the pipeline's encode_prompt by their names in TELLS, but for ids."""
        values = self.pipeline.encode_prompt(
            prompts, device=self.pipeline.device, **self.encode_prompt_kwargs(True)
        )
        return {
            key: value for key, value in zip(PROMPT_OUTPUTS[self.kind], values, strict=True) if key != "ids"
        }

    def encode_prompt_kwargs(self, null: bool) -> dict[str, Any]:
        """Return the arguments of encode_prompt besides prompts and device.

        null: whether it encodes no prompt too.
        """
        known = inspect.signature(self.pipeline.encode_prompt).parameters
        arguments = {
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": null,
            "prompt_2": None,
            "prompt_3": None,
        }
        return {name: value for name, value in arguments.items() if name in known}


def required_parts(kind: str) -> list[str]:
    """Return the names of the parts without which a pipeline encodes no prompt."""
    import diffusers

    pipeline = getattr(diffusers, kind)
    names = inspect.signature(pipeline.__init__).parameters
    parts = [name for name in names if name.startswith(("text_encoder", "tokenizer"))]
    return [name for name in parts if name not in pipeline._optional_components]


def opened(folder: Path, kind: Any) -> Any:
    """Open a tokenizer or text encoder of transformers.

    Args:
        folder: its folder.
        kind: its class, as model_index.json names it.

    Raises:
        FastdiffError: for a class that is not supported, and if it cannot be read.
    """
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
            model, report = getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        if report["missing_keys"]:
            raise ValueError(f"the weights lack {min(report['missing_keys'])}")
        return model
    except Exception as error:  # what is broken can fail anywhere in the library
        raise FastdiffError(f"{folder.name} cannot be read: {first_line(error)}") from None


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of transformers, which appear however short the work is."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
