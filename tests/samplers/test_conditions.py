"""Conditions of samples: negative prompts, and the default guidance of models that take a weight."""

import pytest
import torch

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.samplers.conditions import conditions
from tests.helpers.opened_pipelines import PROMPTS, noise, ours, same, table_times

NEGATIVE = ["a red star", "fog"]


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_negative_prompt_is_that_of_diffusers(opened, name):
    pipeline, model, _ = opened(name)
    x = noise(2, 4, 8, 8)
    wanted = pipeline(
        PROMPTS,
        negative_prompt=NEGATIVE,
        height=16,
        width=16,
        num_inference_steps=3,
        guidance_scale=4.0,
        latents=x.clone(),
        output_type="pt",
    ).images
    drawn = ours(model, "ddim", x, table_times(pipeline), PROMPTS, guidance=4.0, negative_prompts=NEGATIVE)
    same(drawn, wanted)
    other = ours(model, "ddim", x, table_times(pipeline), PROMPTS, guidance=4.0)
    assert (other - drawn).abs().max() > 1e-3


def test_negative_prompts_of_samples_and_edits(opened):
    _, model, _ = opened("sd")
    plain, against, twice = (
        fastdiff.sample(model, steps=2, n=2, prompts="a cat", guidance=3.0, negative_prompts=negative)
        for negative in (None, "a dog", ["a dog", "a dog"])
    )
    assert not torch.equal(plain, against) and torch.equal(against, twice)
    edited = [
        fastdiff.edit(
            model, plain, strength=0.5, steps=2, prompts="a cat", guidance=3.0, negative_prompts=negative
        )
        for negative in (None, "a dog")
    ]
    assert not torch.equal(*edited)


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("sd", {"guidance": 1.0}, "no effect with guidance = 1"),
        ("sd", {"guidance": 3.0, "negative_prompts": ["a"] * 3}, "negative_prompts: 3 of them for n = 2"),
        ("lcm", {"guidance": 3.0}, "takes a guidance weight as an input and has no branch to guide against"),
        ("pixels", {}, "negative_prompts: this model takes no prompts"),
    ],
)
def test_negative_prompts_without_effect_are_refused(opened, name, options, said):
    prompts = {} if name == "pixels" else {"prompts": "a cat"}
    with pytest.raises(FastdiffError, match=said):
        fastdiff.sample(opened(name)[1], n=2, steps=1, **prompts, **({"negative_prompts": "a dog"} | options))


def test_a_model_of_a_weight_is_sampled_within_its_range_by_default(opened):
    _, model, _ = opened("lcm")
    model = fastdiff.load(opened("lcm")[2])
    model.guidance = (3.0, 8.0)
    assert torch.equal(
        fastdiff.sample(model, steps=1, n=2), fastdiff.sample(model, steps=1, n=2, prompts="", guidance=3.0)
    )
    with pytest.raises(FastdiffError, match="trained for guidance from 3 to 8"):
        fastdiff.sample(model, steps=1, n=2, guidance=1.0)
    model._text = type(model._text)(None)  # nothing but the weight is left to take
    assert conditions(model, 2, guidance=3.0)["guidance"].tolist() == [3.0, 3.0]
