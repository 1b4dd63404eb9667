"""fastdiff.json: what a model's folder says of it beside diffusers' own files."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from ..core.errors import FastdiffError
from ..core.files import read_json
from ..core.prediction import ROWS, TIME_INPUTS
from ..core.sampling import Sampling
from ..core.schedule import SCHEDULES, Schedule
from ..core.validation import Finite, Shape, Strict, call, named, validate

ABOUT = "fastdiff.json"
MOST = 100_000  # steps that a model is sampled in


def working(told: Any) -> Schedule:
    """The schedule of this name and options, where its levels are numbers."""
    schedule = call(SCHEDULES, *named(told, "schedule"), "schedule")
    try:
        levels = torch.stack(schedule.alpha_sigma(torch.linspace(0, schedule.t_max, 3, dtype=torch.float64)))
    except ArithmeticError as error:
        raise ValueError(f"{schedule} has no levels: {error}") from None
    if not levels.isfinite().all():
        raise ValueError(f"{schedule} has levels that are no numbers")
    return schedule


Steps = Annotated[int, Field(ge=1, le=MOST)]
Sha = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Sampled(Strict):
    """How a model is to be sampled; older files know no times."""

    sampler: str
    spacing: str
    steps: tuple[Steps, ...] = Field(min_length=1)
    only: bool = False
    times: tuple[Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MOST)], ...] = ()


class Guidance(Strict):
    """The weights of guidance that a model is told, and what they mean."""

    weights: tuple[Finite, Finite]
    means: str = ""


class Text(Strict):
    """What embeds prompts: its weights, and its parts as model_index.json names them."""

    weights: Sha
    index: dict[str, str | bool | list[str]]


class Adapter(BaseModel):
    """A low-rank adapter beside the merged weights, and the library and function that read it."""

    rank: Annotated[int, Field(ge=1)]
    read_by: Annotated[str, StringConstraints(pattern=r"^[\w.]+ [\w.]+$")]


class Cost(BaseModel):
    """What the training took."""

    images: Finite | None = None
    seconds: Finite | None = None
    teacher_nfe: Finite | None = None


class About(BaseModel):
    """What the model is; export adds notes of its own, of which those that are read later are held to a type."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    network: Literal["unet", "mlp", "text_unet", "dit", "pixart", "sd3", "flux"]
    schedule: Annotated[Schedule, BeforeValidator(working)]
    predicts: Literal[tuple(ROWS)]
    shape: Shape
    time_input: Literal[tuple(TIME_INPUTS)]
    sigma_data: Annotated[Finite, Field(gt=0)]
    scale_input: bool
    two_times: bool
    sampling: Sampled
    weights: Sha
    guidance: Guidance | None = None  # older files know of none
    latent: Sha | None = None  # fingerprints of what lies beside the network
    text: Text | None = None
    base: Sha | None = None
    files: dict[str, Sha] = {}  # of the autoencoder and the text encoders
    params: int | None = None
    method: str | None = None
    ema: Finite | None = None
    cost: Cost = Cost()
    collapsed: Finite | None = None  # the share of the data that its samples cover, where too small
    lora: Adapter | None = None
    sources: dict[str, str] = {}  # by role, what it was made from
    licences: dict[str, str] = {}  # by role, what the card of that says
    card: dict[str, Any] = {}  # front matter that its own card has besides

    def how(self) -> Sampling:
        """How the model is to be sampled."""
        return Sampling(**dict(self.sampling))


def about(folder: Path) -> dict[str, Any] | None:
    """What fastdiff.json says, checked; None where there is none."""
    path = folder / ABOUT
    try:
        notes = read_json(path)
        read(notes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (FastdiffError, ValueError, OSError) as error:
        raise FastdiffError(
            f"{path} is damaged ({error}): copy it again, or remove the folder and run its stage again"
        ) from None
    return notes


def read(notes: Any) -> About:
    """What it says as values; FastdiffError with the key where it does not fit."""
    if not isinstance(notes, dict):
        raise FastdiffError(f"expected an object, got {type(notes).__name__}")
    return validate(About, notes, "")
