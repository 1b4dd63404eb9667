"""The sample command."""

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import FastdiffError
from .options import Batch, Model, guidance_options, integers

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from ..core.denoiser import Denoiser
    from ..samplers import State

SHEET_WIDTH = 256  # pixels that a sheet has at least, where images are small
OTHER_SUFFIXES = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")


class Precision(StrEnum):
    """Arithmetic of a network."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


def sample(
    model: Model,
    sampler: Annotated[
        str | None,
        typer.Option(help="Instead of the one recorded with the model; ddim[eta=0.5] sets an option."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Instead of the first step count it was trained for.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="How many samples.")] = 64,
    seed: Annotated[
        int,
        typer.Option(
            min=-(2**63), max=2**63 - 1, help="Of the noise; sample i depends on it and on i alone."
        ),
    ] = 0,
    spacing: Annotated[
        str | None, typer.Option(help="The time grid, karras[rho=5] with an option, or the times.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="One class, or n of them separated by commas.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Text prompt; repeat the option to give one prompt per sample.")
    ] = None,
    condition_image: Annotated[
        Path | None, typer.Option(help="The image, or a folder of n, of models that refine one.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="Guidance weight; 1 for none.")] = 1.0,
    guide: Annotated[
        str | None,
        typer.Option(
            help="Settings of guidance: clip=1, threshold=0.995, rescale=0.7, plus=true, "
            "every=2, interval=0.2:5; separated by commas."
        ),
    ] = None,
    init_image: Annotated[Path | None, typer.Option(help="An image or a folder to start from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of --init-image is noised away, 0 to 1.")] = 1.0,
    mask: Annotated[
        Path | None, typer.Option(help="White where --init-image is known; the rest is drawn.")
    ] = None,
    resamplings: Annotated[
        int, typer.Option(help="Resamplings of RePaint, for --mask; 0 replaces the known part alone.")
    ] = 0,
    preview: Annotated[
        int, typer.Option(help="Write the clean prediction at every PREVIEW-th state; 0 for none.")
    ] = 0,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of the network, by autocast.")
    ] = Precision.no,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Memory layout for convolutions.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the network.")] = False,
    batch: Batch = 512,
    out: Annotated[Path, typer.Option(help="A .png for one sheet, else a folder of single images.")] = Path(
        "samples.png"
    ),
) -> None:
    """Draw samples from a model."""
    classes = classes_of(labels, n)
    for option, value, least in (("--n", n, 1), ("--batch", batch, 1), ("--preview", preview, 0)):
        if value < least:
            raise FastdiffError(f"{option} {value}: expected at least {least}")
    if out.suffix.lower() in OTHER_SUFFIXES:
        raise FastdiffError(f"--out {out}: expected a .png for one sheet, or a folder of single images")
    if init_image is None and (mask is not None or strength != 1 or resamplings):
        raise FastdiffError("--mask, --strength and --resamplings change an image: give --init-image")
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
        watch=partial(save_preview, opened, out, preview, count(1)) if preview else None,
        shard=(accelerator.process_index, accelerator.num_processes),
        **options,
    )
    save_samples(samples, n, out, accelerator)
    if accelerator.is_main_process:
        typer.echo(f"{n} samples in {out}")


def classes_of(labels: str | None, n: int) -> tuple[int, ...] | None:
    """Parse --labels: one class, or one for each of n samples."""
    if labels is None:
        return None
    classes = integers("--labels", labels)
    if len(classes) not in (1, n):
        raise FastdiffError(f"--labels: {len(classes)} of them for n = {n}; give one, or one for each sample")
    return classes


def condition_images(path: Path, model: "Denoiser") -> "Tensor":
    """Read the images that a model is conditioned on, of any size."""
    from ..data.images import read_images

    return read_images(path, (model.condition_channels or 3, None, None))


def start_images(path: Path, model: "Denoiser", n: int) -> "Tensor":
    """Read images to start n samples from, in turn."""
    import torch

    from ..data.images import read_images

    images = read_images(path, model.image_shape)
    return images[torch.arange(n) % len(images)]


def known_pixels(path: Path, model: "Denoiser") -> "Tensor":
    """Read a mask (1, C, H, W), true where the image is white."""
    from ..data.images import read_images

    return read_images(path, model.image_shape)[:1] > 0


def save_preview(
    model: "Denoiser", out: Path, every: int, numbers: Iterator[int], indices: "Tensor", state: "State"
) -> None:
    """Save a sheet of the clean predictions at every `every`-th state, of the batch with the first sample.

    Args:
        model: the model, which decodes latents.
        out: where the samples go; the sheets lie next to it.
        every: states from one sheet to the next.
        numbers: counts the states.
        indices: the numbers of the batch's samples.
        state: what the sampler yields.
    """
    if int(indices[0]) != 0:
        return
    number = next(numbers)
    if number % every == 0:
        save_sheet(model.decoded(state.x0), out.with_name(f"{out.stem}-state-{number:04d}.png"), out)


def save_samples(samples: "Tensor", n: int, out: Path, accelerator: "Accelerator") -> None:
    """Save this process's share of n samples: in a sheet with those of all processes, or as single images."""
    import torch
    from accelerate.utils import gather_object

    rank, world = accelerator.process_index, accelerator.num_processes
    if out.suffix.lower() == ".png":
        shares = gather_object([samples.cpu()])
        if accelerator.is_main_process:
            save_sheet(torch.stack([shares[i % world][i // world] for i in range(n)]), out, out)
    else:
        for i, one in zip(range(rank, n, world), samples):
            save_image(one[None], out / f"{i:06d}.png", out)


def save_sheet(samples: "Tensor", path: Path, out: Path) -> None:
    """Save samples as one square sheet, small images enlarged; out: the option, for errors."""
    side = max(1, round(len(samples) ** 0.5))
    zoom = max(1, SHEET_WIDTH // (side * samples.shape[-1]))
    save_image(samples, path, out, side, zoom)


def save_image(samples: "Tensor", path: Path, out: Path, columns: int = 1, zoom: int = 1) -> None:
    """Save samples as one picture; raise FastdiffError, with the option --out, if it cannot be written."""
    from ..data.image_grid import picture, save

    try:
        save(picture(samples, columns, zoom), path)
    except OSError as error:
        raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None
