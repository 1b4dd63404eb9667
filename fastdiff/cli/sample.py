"""The sample command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Model, bounds, integers


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
    seed: Annotated[int, typer.Option(min=-(2**63), max=2**63 - 1, help="Sample i is a function of it.")] = 0,
    spacing: Annotated[
        str | None, typer.Option(help="The time grid, karras[rho=5] with an option, or the times.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="One class, or n of them separated by commas.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Of models of text; again for others, one or n of them.")
    ] = None,
    condition: Annotated[
        Path | None, typer.Option(help="The image, or a folder of n, of models that refine one.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="1 is none.")] = 1.0,
    guide: Annotated[
        str | None,
        typer.Option(
            help="More of it: clip=1, threshold=0.995, rescale=0.7, plus=true, "
            "every=2, interval=0.2:5; separated by commas."
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="An image or a folder to start from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of --image is noised away, 0 to 1.")] = 1.0,
    mask: Annotated[
        Path | None, typer.Option(help="White where --image is known; the rest is drawn.")
    ] = None,
    resamplings: Annotated[int, typer.Option(help="Of RePaint, where --mask is given; 0 for none.")] = 0,
    preview: Annotated[
        int, typer.Option(help="Write the clean prediction at every so many states, 0 for none.")
    ] = 0,
    precision: Annotated[Precision, typer.Option(help="Of the network's arithmetic.")] = Precision.no,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Memory layout for convolutions.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the network.")] = False,
    batch: int = 512,
    out: Annotated[Path, typer.Option(help="A .png for one sheet, else a folder of single images.")] = Path(
        "samples.png"
    ),
) -> None:
    """Draw samples from a model."""
    classes = integers("--labels", labels) if labels is not None else None
    if classes is not None and len(classes) not in (1, n):
        raise FastdiffError(f"--labels: {len(classes)} of them for n = {n}; give one, or one for each sample")
    for what, value, least in (("--n", n, 1), ("--batch", batch, 1), ("--preview", preview, 0)):
        if value < least:
            raise FastdiffError(f"{what} {value}: expected at least {least}")
    if out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp"):
        raise FastdiffError(f"--out {out}: expected a .png for one sheet, or a folder of single images")
    import torch
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    from ..data.image_grid import picture, save
    from ..data.images import read_images
    from ..io.load import load
    from ..networks.inference import tune
    from ..samplers.edit import edit
    from ..samplers.generate import sample as draw

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    rank, world, main = accelerator.process_index, accelerator.num_processes, accelerator.is_main_process

    def put(x: torch.Tensor, path: Path, columns: int, zoom: int = 1) -> None:
        try:
            save(picture(x, columns, zoom), path)
        except OSError as error:
            raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None

    def sheet(x: torch.Tensor, path: Path) -> None:
        side = max(1, round(len(x) ** 0.5))
        put(x, path, side, max(1, 256 // (side * x.shape[-1])))

    states: list[int] = []

    def watch(part: torch.Tensor, state: object) -> None:
        if int(part[0]) == 0:  # the first batch stands for all
            states.append(len(states) + 1)
            if states[-1] % preview == 0:
                sheet(opened.decoded(state.x0), out.with_name(f"{out.stem}-state-{states[-1]:04d}.png"))

    if image is None and (mask is not None or strength != 1 or resamplings):
        raise FastdiffError("--mask, --strength and --resamplings change an image: give --image")
    opened = tune(load(model, accelerator.device), precision.value, channels_last, compile)
    how = {
        "sampler": sampler,
        "steps": steps,
        "seed": seed,
        "spacing": spacing,
        "guidance": guidance,
        "batch": batch,
        "labels": torch.tensor(classes) if classes else None,
        "prompts": prompt or None,
        "watch": watch if preview else None,
        "share": (rank, world),
        **bounds(guide),
    }
    refined = (
        None if condition is None else read_images(condition, (opened.condition_channels or 3, None, None))
    )
    if image is None:
        x = draw(opened, n=n, image=refined, **how)
    else:
        given = read_images(image, opened.image_shape)
        known = None if mask is None else read_images(mask, opened.image_shape)[:1] > 0
        x = edit(
            opened,
            given[torch.arange(n) % len(given)],
            mask=known,
            strength=strength,
            resamplings=resamplings,
            upon=refined,
            **how,
        )
    if out.suffix.lower() == ".png":
        parts = gather_object([x.cpu()])
        if main:
            sheet(torch.stack([parts[i % world][i // world] for i in range(n)]), out)
    else:
        for i, one in zip(range(rank, n, world), x):
            put(one[None], out / f"{i:06d}.png", 1)
    if main:
        typer.echo(f"{n} samples in {out}")
