"""Checks that a stage fits its data, its base and the models it names.

Each check of the fit of models and data has its purpose:

* `check_data`: a student or teacher can be trained on the data of its stage (before each training);
* `check_base`: a cascade's base makes the images that the model above it refines (before its training);
* `check_like`: the run's data can judge a stage that is trained on `nothing` (before the first training);
* `evaluation.sweep.check_fit`: data can judge a model at the benchmark's guidance (before the training of a
  stage that will be benchmarked, before a sweep, and before a search for times).
"""

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Readable
from ..samplers.generate import check_labels
from .stage_config import Stage


def check_data(what: str, model: Denoiser | None, data: Readable, latents: bool = False) -> None:
    """Refuse a model whose shape, classes or condition image do not fit the data that its stage learns from.

    Args:
        what: the stage and the model, for the error.
        model: the student or the teacher; None passes.
        data: what the stage learns from.
        latents: whether the data are what the network sees, as stored pairs are, and not images to encode.

    Raises:
        FastdiffError: if they do not fit.
    """
    if model is None:
        return
    shape = tuple(model.shape if latents else model.image_shape)
    if shape != tuple(data.shape):
        raise FastdiffError(f"{what} makes samples of shape {shape}, the data have {tuple(data.shape)}")
    channels = model.condition_channels
    if channels and (data.image is None or data.image.shape[1] != channels):
        raise FastdiffError(
            f"{what} is conditioned on images of {channels} channels, the data {data.name} bring "
            f"{'none' if data.image is None else data.image.shape[1]}: set `image` of the data"
        )
    if model.classes is not None and data.labels is not None:
        try:
            check_labels(model, data.labels)
        except FastdiffError as error:
            raise FastdiffError(f"{what} does not know the data's classes: {error}") from None


def check_base(stage: Stage, model: Denoiser, base: Denoiser, data: Readable) -> None:
    """Refuse a cascade whose base does not make the images that the model above it learns to refine.

    Args:
        stage: the stage of the upper model.
        model: the upper model.
        base: the model whose images it refines.
        data: what the upper model learns from, with the images to refine.

    Raises:
        FastdiffError: if they do not fit.
    """
    if not model.condition_channels:
        raise FastdiffError(
            f"stage {stage.name}.base: this model is conditioned on no image: set `image` of its network"
        )
    if tuple(base.image_shape) != tuple(data.image.shape[1:]):
        raise FastdiffError(
            f"stage {stage.name}.base: {stage.base} makes {tuple(base.image_shape)}, and this model learns "
            f"from {tuple(data.image.shape[1:])}"
        )


def check_like(name: str, own: Readable, data: Readable) -> None:
    """Refuse a stage trained on `nothing` whose samples the run's data cannot judge.

    Args:
        name: the stage.
        own: the stage's own data.
        data: the run's data.

    Raises:
        FastdiffError: if their shapes or classes differ.
    """
    if (own.shape, own.classes) != (data.shape, data.classes):
        raise FastdiffError(
            f"stages.{name}.data: nothing of shape {own.shape} and {own.classes} classes, where the run's "
            f"data {data.name}, which judge it, have {data.shape} and {data.classes}"
        )
