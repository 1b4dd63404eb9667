"""Checks that a stage fits its data, its base and the models it names."""

from typing import Any

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Readable
from ..samplers.generate import check_labels
from .recipe import Stage


def check_data(what: str, model: Denoiser | None, data: Any, raw: bool = False) -> None:
    """Refuse a model of other samples, fewer classes or another image to go by than the data's; raw: these are its x."""
    shape = model and tuple(model.shape if raw else model.image_shape)
    if model and shape != tuple(data.shape):
        raise FastdiffError(f"{what} makes samples of shape {shape}, the data have {tuple(data.shape)}")
    needed = model.condition_channels if model else 0
    if needed and (data.image is None or data.image.shape[1] != needed):
        raise FastdiffError(
            f"{what} is conditioned on images of {needed} channels, the data {data.name} bring "
            f"{'none' if data.image is None else data.image.shape[1]}: set `image` of the data"
        )
    if model and model.classes is not None and data.labels is not None:
        try:
            check_labels(model, data.labels)
        except FastdiffError as error:
            raise FastdiffError(f"{what} does not know the data's classes: {error}") from None


def check_base(stage: Stage, model: Denoiser, base: Denoiser, data: Readable) -> None:
    """Refuse a cascade whose base does not make the images that its upper model learns from."""
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
    """Refuse a stage of nothing whose samples are not such as the data that are to judge them."""
    if (own.shape, own.classes) != (data.shape, data.classes):
        raise FastdiffError(
            f"stages.{name}.data: nothing of shape {own.shape} and {own.classes} classes, where the run's "
            f"data {data.name}, which judge it, have {data.shape} and {data.classes}"
        )
