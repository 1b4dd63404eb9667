"""The metadata of a model: fastdiff.json, next to the files of diffusers."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from ..core.errors import FastdiffError, NotRegistered
from ..core.files import read_json
from ..core.prediction import PREDICTION_TYPES, TIME_INPUTS
from ..core.sampling import DATA, Sampling
from ..core.schedule import SCHEDULES, Schedule
from ..core.validation import Finite, Shape, Strict, call, named, validate
from ..networks import KINDS, NETWORKS

METADATA_FILE = "fastdiff.json"
MAX_STEPS = 100_000  # largest number of sampling steps


def working_schedule(value: Any) -> Schedule:
    """Return the schedule with a name and options.

    Raises:
        NotRegistered: if SCHEDULES does not have the name.
        ValueError: if its alpha or sigma are not finite.
    """
    name, options = named(value, "schedule")
    if name not in SCHEDULES:
        raise NotRegistered("schedule", name)
    schedule = call(SCHEDULES, name, options, "schedule")
    try:
        levels = torch.stack(schedule.alpha_sigma(torch.linspace(0, schedule.t_max, 3, dtype=torch.float64)))
    except ArithmeticError as error:
        raise ValueError(f"{schedule} has no levels: {error}") from None
    if not levels.isfinite().all():
        raise ValueError(f"{schedule} has noise levels that are not finite")
    return schedule


Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Sha = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class RecordedSampling(Strict):
    """The JSON form of a core.sampling.Sampling; older files have only the first keys."""

    sampler: str
    spacing: str
    steps: tuple[Steps, ...] = Field(min_length=1)
    only: bool = False
    times: tuple[Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MAX_STEPS)], ...] = ()
    clip: Annotated[Finite, Field(gt=0)] | None = None
    threshold: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    threshold_max: Annotated[Finite, Field(ge=1)] | None = None
    keep_eps: bool = False
    end: tuple[Finite, Finite] = DATA
    variance: Literal["small", "large", "learned"] = "small"
    time_rounding: Literal["exact", "nearest", "floor"] = "exact"


class Guidance(Strict):
    """The range of guidance weights that a network takes as an input, and the meaning of a weight."""

    weights: tuple[Finite, Finite]
    means: str = ""


class Text(Strict):
    """A text encoder: the hash of its weights, and its components by their names in model_index.json."""

    weights: Sha
    index: dict[str, str | bool | list[str]]


class BuiltWith(Strict):
    """The settings that a plugin's network is built with again, see core.network.Blueprint."""

    options: dict[str, Any] = {}
    classes: Annotated[int, Field(ge=0)] = 0
    added: tuple[Literal["with_second_time", "with_guidance"], ...] = ()


class Adapter(BaseModel):
    """A low-rank adapter that is stored next to the merged weights, and the function that loads it."""

    rank: Annotated[int, Field(ge=1)]
    read_by: Annotated[str, StringConstraints(pattern=r"^[\w.]+ [\w.]+$")]


class Cost(BaseModel):
    """The cost of a training: images, seconds, and network evaluations of the teacher."""

    images: Finite | None = None
    seconds: Finite | None = None
    teacher_nfe: Finite | None = None


class ModelMetadata(BaseModel):
    """The contents of fastdiff.json; keys that fastdiff never reads are kept without a type."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    built_with: BuiltWith | None = None  # only for a plugin's network
    network: str
    schedule: Annotated[Schedule, BeforeValidator(working_schedule)]
    predicts: Literal[tuple(PREDICTION_TYPES)]
    shape: Shape
    time_input: Literal[tuple(TIME_INPUTS)]
    sigma_data: Annotated[Finite, Field(gt=0)]
    scale_input: bool
    two_times: bool
    sampling: RecordedSampling
    weights: Sha
    guidance: Guidance | None = None  # absent in older files
    latent: Sha | None = None  # fingerprint of the autoencoder
    text: Text | None = None
    base: Sha | None = None  # fingerprint of a cascade's base model
    settings: str | None = None  # digest of the settings as written, see fingerprint.settings_digest
    files: dict[str, Sha] = {}  # checksums of the autoencoder's and text encoders' files
    params: int | None = None
    method: str | None = None
    ema: Finite | None = None
    cost: Cost = Cost()
    class_names: tuple[str, ...] = ()  # absent in older files and for data without classes
    collapsed: Finite | None = None  # fraction of the data that the samples cover, if it is too small
    chance_auc: Finite | None = None  # area under the ROC of the discriminator, if that is near chance
    lora: Adapter | None = None
    sources: dict[str, str] = {}  # role -> name of the model or data set
    licences: dict[str, str] = {}  # role -> licence that its card states
    safeguards: dict[str, str] = {}  # safety checker and watermarker of the teacher, which it lacks
    card: dict[str, Any] = {}  # additional front matter of the model's own card
    plugins: dict[str, Sha] = {}  # SHA-256 of the files of the plugins that its training had loaded

    @field_validator("network")
    @classmethod
    def known_network(cls, value: str, info: ValidationInfo) -> str:
        """Return the name of a network; raise NotRegistered for that of a plugin that is not loaded."""
        if not info.data.get("built_with"):
            if value not in KINDS:
                raise ValueError(f"expected {', '.join(KINDS)}")
        elif value not in NETWORKS:
            raise NotRegistered("network", value)
        return value

    def recorded_sampling(self) -> Sampling:
        """Return the model's default sampler, time grid and numbers of steps."""
        return Sampling(**dict(self.sampling))


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """Read and check the fastdiff.json of a folder.

    Returns:
        The contents as plain JSON data; None if there is no such file.

    Raises:
        FastdiffError: if the file is damaged, or names what no plugin has registered.
    """
    path = folder / METADATA_FILE
    notes = None
    try:
        notes = read_json(path)
        parse_metadata(notes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotRegistered as error:
        plugins = notes.get("plugins")
        trained = (
            f" (it was trained with {', '.join(plugins)})" if isinstance(plugins, dict) and plugins else ""
        )
        raise FastdiffError(f"{folder} {error}{trained}") from None
    except (FastdiffError, ValueError, OSError) as error:
        raise FastdiffError(
            f"{path} is damaged ({error}): copy it again, or delete the folder and run its stage again"
        ) from None
    return notes


def parse_metadata(notes: Any) -> ModelMetadata:
    """Return the contents of fastdiff.json as typed values.

    Raises:
        FastdiffError: for a value of another type or out of its range; the error names its key.
    """
    if not isinstance(notes, dict):
        raise FastdiffError(f"expected an object, got {type(notes).__name__}")
    return validate(ModelMetadata, notes, "")
