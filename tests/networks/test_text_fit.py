"""Tokenizers, encoders and networks that do not fit are refused by their settings; cuts are said once."""

import json
import warnings

import pytest

from fastdiff.core.errors import FastdiffError, FastdiffWarning
from fastdiff.io.load import load
from fastdiff.networks.text_encoder import TextEncoder
from fastdiff.networks.text_fit import check_components, check_widths, cut_prompts, pairs, settings_of, widths
from tests.helpers.tiny_pipelines import clip, stable_diffusion, t5

STABLE, XL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
LETTERS = "a b c d e f g h i j k l m n"  # 14 tokens, and 2 at the ends; the tokenizer takes 12


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    encoder, tokenizer = clip(tmp_path_factory.mktemp("tokens"))
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def test_encoders_of_another_class_are_refused(parts, tmp_path):
    check_components(STABLE, parts)
    projected, _ = clip(tmp_path, "CLIPTextModelWithProjection")
    with pytest.raises(
        FastdiffError, match="^text_encoder = CLIPTextModelWithProjection: expected a CLIPTextM"
    ):
        check_components(STABLE, parts | {"text_encoder": projected})
    check_components(XL, parts | {"text_encoder_2": projected})
    with pytest.raises(
        FastdiffError, match="^text_encoder_2 = CLIPTextModel: expected a CLIPTextModelWithPr"
    ):
        check_components(XL, parts | {"text_encoder_2": parts["text_encoder"]})


@pytest.mark.parametrize("length", [13, 10**30])
def test_a_tokenizer_longer_than_its_encoder_is_refused(parts, tmp_path, length):
    _, tokenizer = clip(tmp_path)
    tokenizer.model_max_length = length
    with pytest.raises(
        FastdiffError, match=r"^tokenizer: model_max_length = (13|1e\+30): expected at most 12"
    ):
        check_components(STABLE, parts | {"tokenizer": tokenizer})


def test_a_tokenizer_of_another_vocabulary_is_refused(parts, tmp_path):
    _, tokenizer = clip(tmp_path)
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(FastdiffError, match="^tokenizer has 55 tokens: expected at most 54"):
        check_components(STABLE, parts | {"tokenizer": tokenizer})


def test_a_pipeline_that_does_not_fit_is_refused_as_it_is_opened(tmp_path):
    stable_diffusion(tmp_path / "tokens").save_pretrained(tmp_path / "fits")
    assert load(tmp_path / "fits").text.width == 8
    stable_diffusion(tmp_path / "tokens", width=20).save_pretrained(tmp_path / "wide")
    with pytest.raises(FastdiffError, match="embeddings of width 8: expected 20, the cross_attention_dim"):
        load(tmp_path / "wide")
    file = tmp_path / "fits/tokenizer/tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["model_max_length"]
    file.write_text(json.dumps(settings))
    with pytest.raises(FastdiffError, match="model_max_length"):
        load(tmp_path / "fits")


def test_widths_are_those_that_each_pipeline_hands_to_its_network(parts, tmp_path):
    (projected, _), (long, _) = clip(tmp_path, "CLIPTextModelWithProjection"), t5()
    one, two = parts["text_encoder"], projected
    assert widths(STABLE, parts) == (8, None)
    assert widths(XL, {"text_encoder": one, "text_encoder_2": two}) == (16, 8)
    assert widths("FluxPipeline", {"text_encoder": one, "text_encoder_2": long}) == (16, 8)
    three = {"text_encoder": two, "text_encoder_2": two, "text_encoder_3": long}
    assert widths("StableDiffusion3Pipeline", three) == (16, 16)
    assert widths("PixArtSigmaPipeline", {"text_encoder": long}) == (16, None)
    config = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "cross_attention_dim": 16}
    both = {"text_encoder": one, "text_encoder_2": two}
    check_widths(XL, both, config | {"projection_class_embeddings_input_dim": 24 + 8})
    with pytest.raises(FastdiffError, match="pooled embeddings of width 8: expected 12"):
        check_widths(XL, both, config | {"projection_class_embeddings_input_dim": 24 + 12})
    check_widths(
        "PixArtSigmaPipeline", {"text_encoder": long}, {"caption_channels": 16, "cross_attention_dim": 9}
    )


def test_the_end_that_is_cut_is_said(parts):
    assert [name for name, _, _ in pairs(parts)] == ["tokenizer"]
    assert cut_prompts(parts, ["", "a b c", "a b c d e f g h i j"], None) is None  # 12 with both ends
    line = cut_prompts(parts, ["a", LETTERS], None)
    assert line.startswith("tokenizer: a prompt of 16 tokens is cut to 12; left out is 'k l m n', of 'a b c")
    encoder, tokenizer = t5()
    long = {"text_encoder": encoder, "tokenizer": tokenizer}
    assert "is cut to 6" in cut_prompts(long, ["abcdefghij"], 6) and cut_prompts(long, ["abc"], 60) is None


def test_a_cut_is_said_once(parts):
    text = TextEncoder(STABLE, **parts)
    with pytest.warns(FastdiffWarning, match="is cut to 12") as caught:
        first = text.encode([LETTERS])["text"]
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (text.encode([LETTERS])["text"] == first).all()


def test_settings_that_change_embeddings_are_in_their_identity(parts, tmp_path):
    encoder, tokenizer = clip(tmp_path)
    encoder.load_state_dict(parts["text_encoder"].state_dict())
    keys = {TextEncoder(STABLE, **parts).cache_key}
    same = TextEncoder(STABLE, text_encoder=encoder, tokenizer=tokenizer)
    assert {same.cache_key} == keys and same.fingerprint == TextEncoder(STABLE, **parts).fingerprint
    encoder.config.hidden_act = "gelu"
    keys.add(TextEncoder(STABLE, text_encoder=encoder, tokenizer=tokenizer).cache_key)
    for name, value in (("model_max_length", 8), ("padding_side", "left")):
        setattr(tokenizer, name, value)
        keys.add(TextEncoder(STABLE, text_encoder=encoder, tokenizer=tokenizer).cache_key)
    assert len(keys) == 4
    assert settings_of(parts) == settings_of({"flag": True} | parts)
