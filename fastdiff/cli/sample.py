"""The `sample` command: draws or edits images and saves them."""

import os
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import FastdiffError
from .class_labels import classes_of
from .options import Batch, Model, checked_seed, guidance_options

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL.Image import Image
    from torch import Tensor

    from ..core.denoiser import Denoiser
    from ..samplers import State


class Precision(StrEnum):
    """The floating-point precision of a network's forward pass."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


def sample(
    model: Model,
    sampler: Annotated[
        str | None,
        typer.Option(help="Sampler, such as heun or ddim[eta=0.5].", show_default="the model's own"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Sampling steps.", show_default="the model's own"),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of samples to draw.")] = 64,
    seed: Annotated[
        int,
        typer.Option(callback=checked_seed, help="Seed of the noise of all samples."),
    ] = 0,
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Time grid, such as uniform or karras[rho=5], or times.",
            show_default="the model's own",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Classes, as numbers or names: one, or n with commas."),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Text prompt; repeat it for several: one, or n.")
    ] = None,
    negative_prompt: Annotated[
        list[str] | None, typer.Option(help="Text prompt to guide against; one, or n of them.")
    ] = None,
    condition_image: Annotated[
        Path | None,
        typer.Option(help="Image to condition on, or a folder of n."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance scale; 1 for none.", show_default="1, or the model's nearest"),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="Settings of `fastdiff list guidance`."),
    ] = None,
    init_image: Annotated[Path | None, typer.Option(help="Image to edit, or a folder of images.")] = None,
    strength: Annotated[float, typer.Option(help="Strength of the edit, 0 (none) to 1 (from noise).")] = 1.0,
    mask: Annotated[Path | None, typer.Option(help="Mask: white keeps --init-image, black is new.")] = None,
    resamplings: Annotated[int, typer.Option(help="RePaint's rounds with --mask; 0 for none.")] = 0,
    preview: Annotated[int, typer.Option(help="Steps between sheets of predicted x0; 0 for none.")] = 0,
    precision: Annotated[
        Precision, typer.Option(help="Autocast precision of the network; `no` is float32.")
    ] = Precision.no,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Use the channels-last memory layout."),
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network with torch.compile.")
    ] = False,
    batch: Batch = 512,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .png file for one sheet, or a folder of images.")
    ] = Path("samples.png"),
) -> None:
    """Draw samples from a model."""
    classes = classes_of(labels, n, model)
    for option, value, least in (("--n", n, 1), ("--batch", batch, 1), ("--preview", preview, 0)):
        if value < least:
            raise FastdiffError(f"{option} {value}: expected at least {least}")
    check_out(out, n)
    if init_image is None and (mask is not None or strength != 1 or resamplings):
        raise FastdiffError("--mask, --strength and --resamplings edit an image: give --init-image as well")
    import torch

    from ..core.accelerator import make_accelerator
    from ..io.load import load
    from ..networks.inference import tune
    from ..samplers.edit import edit
    from ..samplers.generate import sample as draw_samples

    accelerator = make_accelerator()
    opened = load(model, accelerator.device)
    opened = tune(opened, precision.value, channels_last, compile)
    options = guidance_options(guide)
    refined = None if condition_image is None else condition_images(condition_image, opened)
    if init_image is None:
        draw = partial(draw_samples, opened, n=n, condition_image=refined)
    else:
        draw = partial(
            edit,
            opened,
            start_images(init_image, opened, n),
            mask=None if mask is None else known_pixels(mask, opened),
            strength=strength,
            resamplings=resamplings,
            condition_image=refined,
        )
    samples = draw(
        sampler=sampler,
        steps=steps,
        seed=seed,
        spacing=spacing,
        guidance=guidance,
        batch=batch,
        labels=torch.tensor(classes) if classes else None,
        prompts=prompt or None,
        negative_prompts=negative_prompt or None,
        watch=partial(save_preview, opened, out, preview, count(1)) if preview else None,
        shard=(accelerator.process_index, accelerator.num_processes),
        progress=accelerator.is_main_process,
        **options,
    )
    save_samples(samples, n, out, accelerator)
    if accelerator.is_main_process:
        typer.echo(f"{n} samples in {out}")


def check_out(out: Path, n: int) -> None:
    """Raise FastdiffError if --out is a picture other than .png, or a folder that has more pictures.

    Args:
        out: value of the option.
        n: number of samples, which are written as 000000.png and so on.
    """
    from PIL import Image

    suffix = out.suffix.lower()
    pictures = {*Image.registered_extensions(), ".svg", ".heic", ".jxl"} - {".png"}
    if suffix in pictures and not os.path.isdir(out):
        raise FastdiffError(f"--out {out}: expected a .png for one sheet, or a folder of single images")
    if suffix == ".png" or not os.path.isdir(out):
        return
    numbers = [int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()]
    if others := [number for number in numbers if number >= n]:
        raise FastdiffError(
            f"--out {out}: {len(others)} pictures of earlier samples would stay among the {n} new ones; "
            "empty the folder, or name another"
        )


def condition_images(path: Path, model: "Denoiser") -> "Tensor":
    """Read the images that a model is conditioned on, of any size."""
    from ..data.images import read_images

    return read_images(path, (model.condition_channels or 3, None, None))


def start_images(path: Path, model: "Denoiser", n: int) -> "Tensor":
    """Read images to start n samples from; fewer than n are used in turn."""
    import torch

    from ..data.images import read_images

    images = read_images(path, model.image_shape)
    return images[torch.arange(n) % len(images)]


def known_pixels(path: Path, model: "Denoiser") -> "Tensor":
    """Read a mask (1, C, H, W) of bools, true where the image is white."""
    from ..data.images import read_images

    return read_images(path, model.image_shape)[:1] > 0


def save_preview(
    model: "Denoiser", out: Path, every: int, numbers: Iterator[int], indices: "Tensor", state: "State"
) -> None:
    """Save a sheet of the predicted clean images every `every` steps, for the first batch only.

    Args:
        model: the model, which decodes latents.
        out: path of the samples; the sheets are written to its folder.
        every: number of steps from one sheet to the next.
        numbers: counter of the steps.
        indices: indices of the batch's samples among all n, (B,).
        state: the sampler's state after a step.
    """
    if int(indices[0]) != 0:
        return
    number = next(numbers)
    if number % every == 0:
        save_sheet(model.decoded(state.x0), out.with_name(f"{out.stem}-state-{number:04d}.png"), out)


def save_samples(samples: "Tensor", n: int, out: Path, accelerator: "Accelerator") -> None:
    """Save n samples, of which this process has every world-th: as one sheet, or as single images."""
    import torch
    from accelerate.utils import gather_object

    from ..data.image_grid import picture

    rank, world = accelerator.process_index, accelerator.num_processes
    if out.suffix.lower() == ".png":
        by_rank = gather_object([samples.cpu()])
        if accelerator.is_main_process:
            save_sheet(torch.stack([by_rank[i % world][i // world] for i in range(n)]), out, out)
    else:
        for i, one in zip(range(rank, n, world), samples):
            save_image(picture(one[None], columns=1), out / f"{i:06d}.png", out)


def save_sheet(samples: "Tensor", path: Path, out: Path) -> None:
    """Save samples as one sheet; see `save_image` for the other arguments.

    Args:
        samples: images (n, C, H, W) in [-1, 1], or vectors (n, D).
        path: the file.
        out: value of the option --out, for errors.
    """
    from ..data.image_files import sheet

    save_image(sheet(samples), path, out)


def save_image(image: "Image", path: Path, out: Path) -> None:
    """Save a picture as a PNG file.

    Args:
        image: the picture.
        path: the file.
        out: value of the option --out, for errors.

    Raises:
        FastdiffError: if the file cannot be written.
    """
    from ..data.image_grid import save

    try:
        save(image, path)
    except OSError as error:
        raise FastdiffError(
            f"--out {str(out):.200}: cannot be written ({error.strerror}); name a writable place"
        ) from None
