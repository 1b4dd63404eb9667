"""Checks that a stage's models fit its data, its base and each other.

* `check_data`: a student or teacher can be trained on the data of its stage (before each training);
* `check_base`: a cascade's base generates the images that the upper model refines (before its training);
* `check_like`: the run's data can judge a stage that is trained on `nothing` (before the first training);
* `evaluation.sweep.check_fit`: data can judge a model at the benchmark's guidance (before the training of a
  stage that will be benchmarked, before a sweep, and before a search for times).
"""

from collections.abc import Sequence

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Readable
from ..evaluation.class_names import check_classes
from .stage_config import Stage


def check_data(
    what: str, model: Denoiser | None, data: Readable, latents: bool = False, names: Sequence[str] = ()
) -> None:
    """Check that a model's shape, classes and conditioning image fit the training data of its stage.

    Args:
        what: the stage and the model, for the error.
        model: the student or the teacher; None passes.
        data: the training data of the stage.
        latents: whether the data are inputs of the network (as stored pairs are), not images to encode.
        names: names of the model's classes; () if unknown.

    Raises:
        FastdiffError: if they do not fit.
    """
    if model is None:
        return
    shape = tuple(model.shape if latents else model.image_shape)
    if shape != tuple(data.shape):
        raise FastdiffError(f"{what} makes samples of shape {shape}, the data have {tuple(data.shape)}")
    channels = model.condition_channels
    present = "no such images" if data.image is None else data.image.shape[1]
    if channels and (data.image is None or data.image.shape[1] != channels):
        raise FastdiffError(
            f"{what} is conditioned on images of {channels} channels, the data {data.name} have {present}; "
            "set `image` of the data"
        )
    try:
        check_classes(what, model, data, names)
    except FastdiffError as error:
        raise FastdiffError(f"{what} has other classes than the data: {error}") from None


def check_base(stage: Stage, model: Denoiser, base: Denoiser, data: Readable) -> None:
    """Check that a cascade's base generates the images that the upper model learns to refine.

    Args:
        stage: the stage of the upper model.
        model: the upper model.
        base: the model whose images it refines.
        data: the training data of the upper model, with the images to refine.

    Raises:
        FastdiffError: if they do not fit.
    """
    if not model.condition_channels:
        raise FastdiffError(
            f"stage {stage.name}.base: this model has no conditioning image; set `image` of its network"
        )
    if tuple(base.image_shape) != tuple(data.image.shape[1:]):
        raise FastdiffError(
            f"stage {stage.name}.base: {stage.base} generates {tuple(base.image_shape)}, expected "
            f"{tuple(data.image.shape[1:])}, the images that this model is conditioned on"
        )


def check_like(name: str, own: Readable, data: Readable) -> None:
    """Check that the run's data can judge a stage that is trained on `nothing`.

    Args:
        name: name of the stage.
        own: the stage's own data.
        data: the run's data.

    Raises:
        FastdiffError: if their shapes or classes differ.
    """
    if (own.shape, own.classes) != (data.shape, data.classes):
        raise FastdiffError(
            f"stages.{name}.data: `nothing` has shape {own.shape} and {own.classes} classes, expected those "
            f"of the run's data {data.name}, which judge it: {data.shape} and {data.classes}"
        )
