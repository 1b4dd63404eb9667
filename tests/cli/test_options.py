"""Options that several commands share: values written as text, and what is refused."""

import pytest

from fastdiff.cli.options import given, guidance_options, integers, names_of, numbers, words
from fastdiff.core.errors import FastdiffError


def test_models_are_named_by_what_tells_them_apart(tmp_path):
    def named(*paths):
        names = names_of([f"{tmp_path}/{path}" for path in paths])
        return {name: path.removeprefix(f"{tmp_path}/") for name, path in names.items()}

    assert named("a/teacher") == {"teacher": "a/teacher"}
    assert named("a/teacher", "a/ect/") == {"teacher": "a/teacher", "ect": "a/ect/"}
    assert named("a/x/teacher", "b/x/teacher") == {"a-x-teacher": "a/x/teacher", "b-x-teacher": "b/x/teacher"}
    assert (
        named("a/teacher", "a/teacher") == {"teacher": "a/teacher"}
        and len(named("a/teacher", "a/teacher/")) == 1
    )
    assert names_of(["google/ddpm"]) == {"ddpm": "google/ddpm"}


def test_commas_in_brackets_do_not_separate_words():
    text = "ddim:50,churn[churn=1,noise=1.0]/karras[rho=5,start=0.9]:4,ddpm:1000"
    assert words(text) == ("ddim:50", "churn[churn=1,noise=1.0]/karras[rho=5,start=0.9]:4", "ddpm:1000")
    assert words("") == ()


def test_numbers_are_separated_by_commas():
    assert integers("--seeds", "3,-1, 0") == (3, -1, 0) and numbers("--guidance", "1,2.5e0") == (1.0, 2.5)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1.5", "9223372036854775808", "1;2"])
def test_what_are_no_whole_numbers_is_refused(text):
    with pytest.raises(FastdiffError, match="^--seeds .*: expected whole numbers separated by commas$"):
        integers("--seeds", text)


@pytest.mark.parametrize("text", ["", "a", "1,nan", "inf", "1 2"])
def test_what_are_no_numbers_is_refused(text):
    with pytest.raises(FastdiffError, match="^--guidance .*: expected numbers separated by commas$"):
        numbers("--guidance", text)


def test_settings_of_guidance_are_those_that_were_named():
    assert guidance_options(None) == guidance_options("") == {}
    assert guidance_options("rescale=0.5,interval=0.2:5") == {"rescale": 0.5, "interval": (0.2, 5.0)}
    with pytest.raises(FastdiffError, match="^--guide 3: expected setting=value, separated by commas$"):
        guidance_options("3")
    with pytest.raises(FastdiffError, match="^--guide.rescal is unknown, did you mean rescale"):
        guidance_options("rescal=1")


def test_an_option_that_was_not_named_is_left_out():
    assert given(resolution=8, colour=None, captions="") == {"resolution": 8, "captions": ""}
