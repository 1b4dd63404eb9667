"""The reference of an evaluator: computed once, kept, and refused where it is no image."""

import pytest
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.opening import open_evaluators
from tests.helpers.evaluated import data, judged


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def test_the_reference_is_computed_once_and_a_changed_data_set_is_noticed(
    digits, accelerator, tmp_path, monkeypatch
):
    real = data(digits[0][:300])
    [evaluator] = open_evaluators(real, None, None, "cpu", tmp_path)
    first = judged(evaluator, digits[0][300:500], accelerator).values
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and all(
        real.fingerprint in name and evaluator.net.fingerprint in name for name in names
    )

    [again] = open_evaluators(real, None, None, "cpu", tmp_path)
    monkeypatch.setattr(type(real), "get", None)  # the cache answers: the data are not read again
    assert judged(again, digits[0][300:500], accelerator).values == first
    monkeypatch.undo()

    changed = digits[0][:300].clone()
    changed[7, 0, 3, 3] += 0.5
    [other] = open_evaluators(data(changed), None, None, "cpu", tmp_path)
    assert judged(other, digits[0][300:500], accelerator).values["fd_digits"] != first["fd_digits"]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_cache_is_made_again(digits, accelerator, tmp_path):
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    first = judged(evaluator, digits[0][300:500], accelerator).values
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    [evaluator] = open_evaluators(data(digits[0][:300]), None, None, "cpu", tmp_path)
    assert judged(evaluator, digits[0][300:500], accelerator).values == first


def test_a_cache_that_cannot_be_written_is_done_without(digits, accelerator, tmp_path):
    (tmp_path / "file").write_text("")
    [evaluator] = open_evaluators(data(digits[0][:300]), None, ("fd",), "cpu", tmp_path / "file" / "below")
    assert judged(evaluator, digits[0][300:500], accelerator).values["fd_digits"] > 0


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_or_one_image_reference_is_refused(digits, count):
    with pytest.raises(
        FastdiffError,
        match=f"data digits: {count} example.*: expected at least 6 as the reference of fd, kd, pr",
    ):
        open_evaluators(data(digits[0][:count]), None, None, "cpu")
    with pytest.raises(
        FastdiffError, match=f"data digits: {count} example.*: expected at least 2 as the reference of fd"
    ):
        open_evaluators(data(digits[0][:count]), None, ("fd",), "cpu")


@pytest.mark.parametrize("value", [255.0, float("nan")])
def test_a_reference_that_is_no_image_is_refused(digits, accelerator, tmp_path, value):
    images = digits[0][:300].clone()
    images[7, 0, 3, 3] = value
    [evaluator] = open_evaluators(data(images), None, ("fd",), "cpu", tmp_path)
    with pytest.raises(FastdiffError, match=r"data digits: values from .*, expected images in \[-1, 1\]"):
        judged(evaluator, digits[0][300:500], accelerator)
    assert list(tmp_path.iterdir()) == []
