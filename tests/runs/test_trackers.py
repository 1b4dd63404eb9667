"""Experiment trackers: what TensorBoard's files and a tracker with tables get from a run."""

import numpy as np
from accelerate.tracking import GeneralTracker
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fastdiff.core.accelerator import make_accelerator
from fastdiff.runs import trackers
from fastdiff.runs.recipe import build
from tests.helpers.recipes import PLAIN, changed

ROWS = [
    {"model": "teacher", "sampler": "ddim", "steps": steps, "fd_digits": 8.0 / steps, "fd_digits_ci": 1.0}
    for steps in (1, 2, 4)
]


class Tables(GeneralTracker):
    """Keeps what it gets; it has tables, as wandb and ClearML have."""

    name = "tables"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.kept = {}

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.kept["settings"] = values

    def log(self, values, step=None, **kwargs):
        self.kept["values"] = values

    def log_images(self, values, step=None, **kwargs):
        self.kept["images"] = values, step

    def log_table(self, name, columns, data):
        self.kept[name] = columns, data


def test_tensorboard_gets_settings_sheets_and_rows(tmp_path):
    accelerator = make_accelerator(log_with="tensorboard", project_dir=str(tmp_path))
    trackers.start(accelerator, build(changed("trackers=[tensorboard]")))
    sheet = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    trackers.log_sheet(accelerator, "teacher", sheet, 4)
    trackers.log_rows(accelerator, ROWS)
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "plain"))
    events.Reload()
    (picture,) = events.Images("teacher/samples")
    assert (picture.step, picture.width, picture.height) == (4, 8, 8)
    curve = [(event.step, event.value) for event in events.Scalars("benchmark/teacher/ddim/fd_digits")]
    assert curve == [(1, 8.0), (2, 4.0), (4, 2.0)]
    assert events.Tags()["scalars"] == ["benchmark/teacher/ddim/fd_digits"]
    (settings,) = tmp_path.glob("plain/*/hparams.yml")
    assert "stages.progressive.method.steps: '[4, 2]'\n" in settings.read_text()
    assert "train.lr: 0.001\n" in settings.read_text()


def test_a_tracker_with_tables_gets_the_rows_as_one(tmp_path):
    tables = Tables()
    accelerator = make_accelerator(log_with=[tables])
    trackers.start(accelerator, build(PLAIN | {"trackers": ["tensorboard"]}))
    assert tables.kept["settings"]["data.kind"] == "moons"
    sheet = Image.new("L", (4, 4))
    trackers.log_sheet(accelerator, "teacher", sheet, 2)
    assert tables.kept["images"] == ({"teacher/samples": [sheet]}, 2)
    trackers.log_rows(accelerator, ROWS)
    columns, data = tables.kept["benchmark"]
    assert columns == ["model", "sampler", "steps", "fd_digits", "fd_digits_ci"]
    assert [line[3] for line in data] == [8.0, 4.0, 2.0]
