"""The fit of a pipeline's tokenizers, text encoders and network, by their settings, as a model is opened."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ..core.errors import FastdiffError

# The classes of the text encoders that a pipeline's code reads, by their names in it.
ENCODER_CLASSES: dict[str, dict[str, str]] = {
    "StableDiffusionPipeline": {"text_encoder": "CLIPTextModel"},
    "LatentConsistencyModelPipeline": {"text_encoder": "CLIPTextModel"},
    "StableDiffusionXLPipeline": {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
    "PixArtAlphaPipeline": {"text_encoder": "T5EncoderModel"},
    "PixArtSigmaPipeline": {"text_encoder": "T5EncoderModel"},
    "StableDiffusion3Pipeline": {
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "text_encoder_3": "T5EncoderModel",
    },
    "FluxPipeline": {"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"},
}
# Keys of a network's config.json that hold the width of the text's embeddings, the first that is set.
TEXT_WIDTHS = ("encoder_hid_dim", "caption_channels", "joint_attention_dim", "cross_attention_dim")
# Entries of an encoder's configuration that do not change its embeddings.
ORIGINS = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
SHOWN_LETTERS = 60  # most letters of the text that is cut off, in a warning


def pairs(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each tokenizer's name, the tokenizer, and the encoder that reads its tokens."""
    for name, part in parts.items():
        if name.startswith("tokenizer"):
            encoder = parts.get(name.replace("tokenizer", "text_encoder"))
            if encoder is not None:
                yield name, part, encoder


def check_components(kind: str, parts: Mapping[str, Any]) -> None:
    """Raise FastdiffError for encoders of another class, and for tokenizers that do not fit their encoders.

    Args:
        kind: class of the pipeline.
        parts: tokenizers, encoders and settings, by their names in the pipeline.
    """
    for name, expected in ENCODER_CLASSES.get(kind, {}).items():
        found = type(parts[name]).__name__ if parts.get(name) is not None else expected
        if found != expected:
            raise FastdiffError(f"{name} = {found}: expected a {expected} in a {kind}; save it as one")
    for name, tokenizer, encoder in pairs(parts):
        of = name.replace("tokenizer", "text_encoder")
        positions = getattr(encoder.config, "max_position_embeddings", None)
        if positions and tokenizer.model_max_length > positions:
            raise FastdiffError(
                f"{name}: model_max_length = {tokenizer.model_max_length:.4g}: expected at most {positions}, "
                f"the positions of {of}; set it in {name}/tokenizer_config.json"
            )
        if len(tokenizer) > encoder.config.vocab_size:
            raise FastdiffError(
                f"{name} has {len(tokenizer)} tokens: expected at most {encoder.config.vocab_size}, the "
                f"vocabulary of {of}; copy both from the same model"
            )


def check_widths(kind: str, parts: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise FastdiffError if a network takes embeddings of another width than those of its encoders.

    Args:
        kind: class of the pipeline.
        parts: tokenizers and encoders, by their names in the pipeline.
        config: configuration of the network's module.
    """
    text, pooled = widths(kind, parts)
    name = next((name for name in TEXT_WIDTHS if config.get(name)), None)
    taken = config.get(name) if name else None
    if isinstance(taken, int) and text and taken != text:
        raise FastdiffError(
            f"text encoder: embeddings of width {text}: expected {taken}, the {name} of the network; name a "
            "pipeline whose parts belong together"
        )
    time_ids = 6 * (config.get("addition_time_embed_dim") or 0)
    expected = config.get("pooled_projection_dim")
    if config.get("addition_embed_type") == "text_time":
        expected = config.get("projection_class_embeddings_input_dim") - time_ids
    if expected and pooled and expected != pooled:
        raise FastdiffError(
            f"text encoder: pooled embeddings of width {pooled}: expected {expected}, as the network takes; "
            "name a pipeline whose parts belong together"
        )


def widths(kind: str, parts: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the widths of a pipeline's embeddings of text and of its pooled ones; None where unknown."""
    configs = {name: part.config for name, part in parts.items() if isinstance(part, nn.Module)}
    hidden = {name: getattr(config, "hidden_size", None) for name, config in configs.items()}
    projected = {name: getattr(config, "projection_dim", None) for name, config in configs.items()}
    if kind == "StableDiffusionXLPipeline":
        return sum(hidden.values()), projected.get("text_encoder_2")
    if kind == "StableDiffusion3Pipeline":
        clip = [projected[name] for name in ("text_encoder", "text_encoder_2") if name in projected]
        return hidden.get("text_encoder_3"), sum(clip) if len(clip) == 2 else None
    if kind == "FluxPipeline":
        return hidden.get("text_encoder_2"), hidden.get("text_encoder")
    return hidden.get("text_encoder"), None


def settings_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of encoders and tokenizers that change embeddings, as plain data by name."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            config = part.config.to_dict()
            found[name] = {key: repr(value) for key, value in config.items() if key not in ORIGINS}
        elif name.startswith("tokenizer"):
            found[name] = {
                "class": type(part).__name__,
                "length": repr(part.model_max_length),
                "padding": part.padding_side,
                "truncation": part.truncation_side,
                "special": {key: str(getattr(part, key, None)) for key in SPECIAL_TOKENS},
            }
    return found


def cut_prompts(parts: Mapping[str, Any], prompts: list[str], length: int | None) -> str | None:
    """Return a line on the first prompt that is longer than its tokenizers take, and what is cut off.

    Args:
        parts: tokenizers and encoders, by their names in the pipeline.
        prompts: the prompts.
        length: most tokens of a T5 encoder, by the pipeline; None for the tokenizer's own length.

    Returns:
        The line; None if no tokenizer cuts a prompt.
    """
    for name, tokenizer, encoder in pairs(parts):
        clip = hasattr(encoder.config, "max_position_embeddings")
        most = tokenizer.model_max_length if clip or length is None else length
        for prompt, ids in zip(prompts, tokenizer(prompts, truncation=False, verbose=False).input_ids):
            if len(ids) > most:
                special = tokenizer.num_special_tokens_to_add()
                ends = 1 if special else 0  # the end of text stays
                lost = tokenizer.decode(ids[most - ends : len(ids) - ends]).strip()
                shown = lost if len(lost) <= SHOWN_LETTERS else f"{lost[:SHOWN_LETTERS]}..."
                return (
                    f"{name}: a prompt of {len(ids)} tokens is cut to {most}; left out is {shown!r}, of "
                    f"{prompt[:SHOWN_LETTERS]!r}; longer prompts are all cut, and this is said once"
                )
    return None
