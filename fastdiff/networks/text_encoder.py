"""Text encoders: prompts to the embeddings that a network takes, by the pipeline's own code."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import FastdiffError, FastdiffWarning, first_line
from ..core.files import identity, read_json
from .pretrained import WEIGHTS_DTYPE, check_present, check_weights, digest
from .text_fit import check_components, cut_prompts, settings_of

# The values that a pipeline's encode_prompt returns, in order, as keys of Cond; "no" marks those of the empty
# prompt.
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
EMPTY_PROMPT_SETTING = "force_zeros_for_empty_prompt"  # setting of a pipeline that changes its embeddings
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
MAX_PROMPTS = 64  # most prompts per pass


class TextEncoder:
    """The tokenizers and text encoders of a pipeline of diffusers.

    It is not a submodule of the model: it is never trained, averaged or copied.

    Args:
        kind: class of the pipeline, a key of PROMPT_OUTPUTS.
        parts: tokenizers, encoders and settings, by their names in the pipeline.

    Attributes:
        left_out: arguments that create the pipeline without its other components.
    """

    def __init__(self, kind: str, **parts: Any) -> None:
        pipeline = pipeline_class(kind)
        known = inspect.signature(pipeline.__init__).parameters
        needed = [name for name, p in known.items() if p.default is p.empty and name != "self"]
        self.kind = kind
        self.parts = parts
        self.left_out: dict[str, Any] = {name: None for name in needed if name not in parts}
        if "requires_safety_checker" in known:
            self.left_out["requires_safety_checker"] = False
        check_components(kind, parts)
        self.cut_said = False  # whether a warning has said that prompts are cut
        self.pipeline = pipeline(**self.left_out, **parts)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.to(WEIGHTS_DTYPE.get() or torch.float32).eval().requires_grad_(False)

    @classmethod
    def open(cls, folder: Path, index: dict[str, Any] | None = None) -> "TextEncoder":
        """Open the text encoder in a pipeline's folder.

        Args:
            folder: folder of the pipeline.
            index: contents of its model_index.json; None to read the file.

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
                f"{folder} is not a diffusers pipeline with prompts: expected a model_index.json of "
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
                    f"{name} is missing from the pipeline: save it with all of its text encoders"
                )
        if EMPTY_PROMPT_SETTING in index:
            parts[EMPTY_PROMPT_SETTING] = index[EMPTY_PROMPT_SETTING]
        return cls(index["_class_name"], **parts)

    @property
    def index(self) -> dict[str, Any]:
        """The entries of model_index.json, with which `open` reads a folder written by `save`."""
        index: dict[str, Any] = {"_class_name": self.kind}
        for name, part in self.parts.items():
            index[name] = part if isinstance(part, bool) else ["transformers", type(part).__name__]
        return index

    def save(self, folder: Path) -> None:
        """Write tokenizers and encoders into a pipeline's folder."""
        with without_bars():
            for name, part in self.parts.items():
                if not isinstance(part, bool):
                    part.save_pretrained(folder / name)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights and settings, and of the tokens of a few words, in hex."""
        modules = {name: part for name, part in self.parts.items() if isinstance(part, torch.nn.Module)}
        words = [
            part("a photo of 3 cats").input_ids
            for name, part in self.parts.items()
            if name.startswith("tokenizer")
        ]
        settings = {name: part for name, part in self.parts.items() if isinstance(part, bool)}
        return digest(torch.nn.ModuleDict(modules), self.kind, words, *settings.items())

    @cached_property
    def cache_key(self) -> str:
        """The identity of the embeddings: the fingerprint, and the settings of encoders and tokenizers."""
        return identity(fingerprint=self.fingerprint, settings=settings_of(self.parts))

    @cached_property
    def width(self) -> int:
        """The number of channels of the text's embeddings."""
        return self.null(1)["text"].shape[-1]

    def to(self, device: torch.device | str) -> "TextEncoder":
        """Move the encoders, and thus their embeddings, to a device; return self."""
        self.pipeline.to(device)
        return self

    def encode(self, prompts: list[str]) -> dict[str, Tensor]:
        """Embed prompts.

        Returns:
            text (B, L, D), and in pipelines that have them also pooled (B, D) and mask (B, L).
        """
        self.warn_of_cuts(prompts)
        starts = range(0, len(prompts), MAX_PROMPTS)
        parts = [self.encode_prompts(prompts[start : start + MAX_PROMPTS]) for start in starts]
        keys = [key for key in parts[0] if not key.startswith("no ")]
        return {key: torch.cat([part[key] for part in parts]) for key in keys}

    def warn_of_cuts(self, prompts: list[str]) -> None:
        """Warn, once, of a prompt that is longer than a tokenizer takes, with the end that is cut off."""
        if self.cut_said:
            return
        default = inspect.signature(self.pipeline.encode_prompt).parameters.get("max_sequence_length")
        if cut := cut_prompts(self.parts, prompts, default.default if default else None):
            self.cut_said = True
            warnings.warn(cut, FastdiffWarning, stacklevel=3)

    def null(self, n: int) -> dict[str, Tensor]:
        """Return the null embeddings n times, with the keys of `encode`."""
        return {key: value.expand(n, *value.shape[1:]) for key, value in self.null_row.items()}

    @cached_property
    def null_row(self) -> dict[str, Tensor]:
        """The null embedding: the pipeline's unconditional one, or else that of the empty prompt."""
        values = self.encode_prompts([""])
        keys = [key for key in values if not key.startswith("no ")]
        return {key: values.get(f"no {key}", values[key]) for key in keys}

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """Return the values of the pipeline's encode_prompt by their names in PROMPT_OUTPUTS, without ids."""
        values = self.pipeline.encode_prompt(
            prompts, device=self.pipeline.device, **self.encode_prompt_kwargs(True)
        )
        return {
            key: value for key, value in zip(PROMPT_OUTPUTS[self.kind], values, strict=True) if key != "ids"
        }

    def encode_prompt_kwargs(self, null: bool) -> dict[str, Any]:
        """Return the arguments of encode_prompt other than prompts and device.

        Args:
            null: whether it also returns the unconditional embedding.
        """
        known = inspect.signature(self.pipeline.encode_prompt).parameters
        arguments = {
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": null,
            "prompt_2": None,
            "prompt_3": None,
        }
        return {name: value for name, value in arguments.items() if name in known}


def pipeline_class(kind: str) -> Any:
    """Return a class of pipelines of diffusers; raise FastdiffError if it cannot be imported."""
    import diffusers

    try:
        return getattr(diffusers, kind)
    except (ImportError, RuntimeError) as error:  # versions of diffusers and transformers that do not fit
        reason = str(error).splitlines()[-1]
        raise FastdiffError(
            f"diffusers {diffusers.__version__} has no working {kind} here ({reason:.100}): see `fastdiff "
            "doctor`, or pip install -U diffusers transformers"
        ) from None


def required_parts(kind: str) -> list[str]:
    """Return the names of the parts that a pipeline needs to encode prompts."""
    pipeline = pipeline_class(kind)
    names = inspect.signature(pipeline.__init__).parameters
    parts = [name for name in names if name.startswith(("text_encoder", "tokenizer"))]
    return [name for name in parts if name not in pipeline._optional_components]


def opened(folder: Path, kind: Any) -> Any:
    """Open a tokenizer or text encoder of transformers.

    Args:
        folder: folder of the part.
        kind: class of the part, as in model_index.json.

    Raises:
        FastdiffError: for a class that is not supported, and if it cannot be read.
    """
    if kind not in (*ENCODERS, *TOKENIZERS):
        raise FastdiffError(
            f"{folder.name}: this {kind!r:.80} is not supported, only {', '.join((*ENCODERS, *TOKENIZERS))}"
        )
    import transformers

    check_weights(folder)
    if kind in ENCODERS and (folder / "config.json").is_file():
        check_present(folder)
    try:
        if kind in TOKENIZERS:
            if not any(
                (folder / name).is_file() for name in VOCABULARIES
            ):  # otherwise every word would be unknown
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
    except Exception as error:  # damaged files can fail anywhere in the library
        raise FastdiffError(f"{folder.name} cannot be read: {first_line(error)}") from None


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of transformers, which appear even for short work."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
