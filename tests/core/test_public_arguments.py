"""Public functions take what can be opened as a model, and answer the words of other libraries."""

import pytest
import torch

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.core.public_arguments import answers_foreign_words, as_model

STUDENT = "checkpoints/digits/progressive-1"


@pytest.fixture(scope="module")
def student():
    return fastdiff.load(STUDENT)


def test_paths_are_taken_where_models_are(student):
    images = fastdiff.sample(STUDENT, n=2)
    assert torch.equal(images, fastdiff.sample(model=student, n=2))
    assert fastdiff.tune(STUDENT).shape == student.shape
    assert fastdiff.Guided(STUDENT).schedule == student.schedule
    assert as_model(student) is student
    with pytest.raises(FastdiffError, match="no such folder"):
        fastdiff.nll("nosuch", images)
    with pytest.raises(FastdiffError, match="no such folder"):
        fastdiff.edit("nosuch", images, strength=0.5)


@pytest.mark.parametrize(
    "given, said",
    [
        (torch.nn.Identity(), r"Identity is a bare network: wrap it .* such as fastdiff.Denoiser\(net"),
        (3, "model = 3: expected a Denoiser, a path, a hub id or a pipeline"),
    ],
)
def test_anything_else_is_refused(given, said):
    with pytest.raises(FastdiffError, match=said):
        fastdiff.sample(given)


@pytest.mark.parametrize(
    "word, value, said",
    [
        ("num_inference_steps", 4, "write steps=4"),
        ("guidance_scale", 7.5, "write guidance=7.5"),
        ("prompt", "a cat", "write prompts='a cat'"),
        ("generator", torch.Generator(), r"write seed=\.\.\."),
        ("guidance_rescale", 0.7, "write rescale=0.7"),
    ],
)
def test_words_of_other_libraries(student, word, value, said):
    with pytest.raises(FastdiffError, match=f"sample: {word} is unknown: {said}"):
        fastdiff.sample(student, **{word: value})


def test_a_word_that_a_function_has_itself_is_kept():
    assert answers_foreign_words(lambda label: label)(label=3) == 3
    with pytest.raises(FastdiffError, match="load: torch_dtype is unknown: write dtype="):
        fastdiff.load(STUDENT, torch_dtype=torch.float16)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda model, x: fastdiff.edit(model, x, strength=0.5, resamplings=1.5), "resamplings"),
        (lambda model, x: fastdiff.nll(model, x, levels=2.5), "levels"),
        (lambda model, x: fastdiff.nll(model, x, probes=True), "probes"),
        (lambda model, x: list(fastdiff.search_times(model, 2, float, tries=2.5)), "tries"),
    ],
    ids=["edit", "levels", "probes", "search"],
)
def test_whole_numbers_are_checked(student, call, name):
    with pytest.raises(FastdiffError, match=f"{name} = .*: expected a whole number"):
        call(student, torch.zeros(2, 1, 8, 8))


def test_data_of_another_shape_are_refused(student):
    with pytest.raises(FastdiffError, match=r"x0 of shape \(2, 3, 8, 8\): expected \(n, 1, 8, 8\)"):
        fastdiff.nll(student, torch.zeros(2, 3, 8, 8))
