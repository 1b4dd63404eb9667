"""fastdiff.json: the metadata of a model, next to diffusers' own files."""

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

METADATA_FILE = "fastdiff.json"
MAX_STEPS = 100_000  # that a model is sampled in


def working_schedule(value: Any) -> Schedule:
    """Return the schedule of a name and options; ValueError if its levels are no numbers."""
    schedule = call(SCHEDULES, *named(value, "schedule"), "schedule")
    try:
        levels = torch.stack(schedule.alpha_sigma(torch.linspace(0, schedule.t_max, 3, dtype=torch.float64)))
    except ArithmeticError as error:
        raise ValueError(f"{schedule} has no levels: {error}") from None
    if not levels.isfinite().all():
        raise ValueError(f"{schedule} has levels that are no numbers")
    return schedule


Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Sha = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class RecordedSampling(Strict):
    """A core.sampling.Sampling as JSON; older files have no times."""

    sampler: str
    spacing: str
    steps: tuple[Steps, ...] = Field(min_length=1)
    only: bool = False
    times: tuple[Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MAX_STEPS)], ...] = ()


class Guidance(Strict):
    """The range of guidance weights that a network takes as an input, and their meaning."""

    weights: tuple[Finite, Finite]
    means: str = ""


class Text(Strict):
    """A text encoder: the hash of its weights, and its parts as model_index.json names them."""

    weights: Sha
    index: dict[str, str | bool | list[str]]


class Adapter(BaseModel):
    """A low-rank adapter next to the merged weights, and the library and function that read it."""

    rank: Annotated[int, Field(ge=1)]
    read_by: Annotated[str, StringConstraints(pattern=r"^[\w.]+ [\w.]+$")]


class Cost(BaseModel):
    """The cost of the training."""

    images: Finite | None = None
    seconds: Finite | None = None
    teacher_nfe: Finite | None = None


class ModelMetadata(BaseModel):
    """The contents of fastdiff.json. Of further notes only those that are read later have a type."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    network: Literal["unet", "mlp", "text_unet", "dit", "pixart", "sd3", "flux"]
    schedule: Annotated[Schedule, BeforeValidator(working_schedule)]
    predicts: Literal[tuple(ROWS)]
    shape: Shape
    time_input: Literal[tuple(TIME_INPUTS)]
    sigma_data: Annotated[Finite, Field(gt=0)]
    scale_input: bool
    two_times: bool
    sampling: RecordedSampling
    weights: Sha
    guidance: Guidance | None = None  # absent in older files
    latent: Sha | None = None  # fingerprints of the parts next to the network
    text: Text | None = None
    base: Sha | None = None
    files: dict[str, Sha] = {}  # of the autoencoder and the text encoders
    params: int | None = None
    method: str | None = None
    ema: Finite | None = None
    cost: Cost = Cost()
    collapsed: Finite | None = None  # the fraction of the data that its samples cover, if too small
    lora: Adapter | None = None
    sources: dict[str, str] = {}  # by role, the name of its origin
    licences: dict[str, str] = {}  # by role, the licence on the card of that origin
    card: dict[str, Any] = {}  # further front matter of its own card

    def recorded_sampling(self) -> Sampling:
        """Return how the model is meant to be sampled."""
        return Sampling(**dict(self.sampling))


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """Read and check the fastdiff.json of a folder.

    Returns:
        Its contents as JSON; None if there is no such file.

    Raises:
        FastdiffError: if it is damaged.
    """
    path = folder / METADATA_FILE
    try:
        notes = read_json(path)
        parse_metadata(notes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (FastdiffError, ValueError, OSError) as error:
        raise FastdiffError(
            f"{path} is damaged ({error}): copy it again, or remove the folder and run its stage again"
        ) from None
    return notes


def parse_metadata(notes: Any) -> ModelMetadata:
    """Return the contents of fastdiff.json as typed values; FastdiffError names the key that does not fit."""
    if not isinstance(notes, dict):
        raise FastdiffError(f"expected an object, got {type(notes).__name__}")
    return validate(ModelMetadata, notes, "")
