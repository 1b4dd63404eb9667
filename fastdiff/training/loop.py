"""The one training loop: it knows roles, optimizers, averages and states, and no method."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed

from ..core.cost import forget_peak
from ..core.denoiser import Denoiser
from ..core.errors import Interrupted
from ..data.dataset import Readable
from ..data.loader import Loader
from ..data.stream import merged
from .checkpoint import load_state, save_state
from .config import TrainConfig
from .health import Health, loggable
from .learner import Learner
from .logger import Log
from .method import Figures, MakeClock, Nets, Teachable
from .networks import TrainingNetworks
from .placement import gather_shards
from .roles import Role, roles_of
from .signals import SignalPoll, Signals
from .weights import Tensors, below, with_prefix

Line = dict[str, float | None]  # a line of the log


class Training:
    """One stage's training: iterating it yields (step, line of the log or None) after every step.

    What is drawn depends on (seed, images seen) alone, so it resumes bit for bit.

    Args:
        method: the losses, and which networks learn from them.
        progress: makes the method's clock of (step, steps, images).
        student: the network that is trained and whose average is exported.
        teacher: the frozen network that the method learns from, if any.
        dataset: what is trained on.
        config: the settings.
        folder: of log.jsonl, pace.jsonl and state/; the newest state in it is resumed.
        accelerator: of this process.
        signals: requests to save or to stop, which are met between two steps.

    Attributes:
        step, images, seconds: what is done so far.
        figures: the newest value of each figure, as not every turn is in every step.
        pace: images per second and share of the time spent waiting for data since the last line of the log,
            and the peak of memory.
    """

    def __init__(
        self,
        method: Teachable,
        progress: MakeClock,
        student: Denoiser,
        teacher: Denoiser | None,
        dataset: Readable,
        config: TrainConfig,
        folder: Path,
        accelerator: Accelerator,
        signals: Signals | None = None,
    ) -> None:
        config.check_shares(accelerator.num_processes)
        self.method = method
        self.progress = progress
        self.dataset = dataset
        self.config = config
        self.folder = folder
        self.accelerator = accelerator
        self.signals = signals or Signals()
        self.poll = SignalPoll(self.signals, accelerator, config.save_every)
        self.networks = TrainingNetworks(student, teacher, config, accelerator)
        self.health = Health(folder, dataset, config.seed, config.max_skips, accelerator)
        self.roles: dict[str, Role] = {}
        self.step = 0
        self.images = 0
        self.seconds = 0.0
        self.figures: Figures = {}
        self.pace: dict[str, float] = {}
        self._build()

    def _build(self) -> None:
        """Make the networks, optimizers and data ready. Each step needs those before it.

        adapt: an adapter decides which weights are trained, and copies share those that are not.
        copy: averages and extra networks are copied from whole networks in full precision, on their device.
        place: optimizers hold the parameters where, and in the form in which, they stay.
        make_roles: a saved state holds the optimizers' moments.
        resume: a saved state says how many images were seen.
        make_loader: it reads ahead from there.
        wrap: DDP copies the first process's weights when it is made, and changes the names in a state.
        """
        self.networks.adapt()
        self.networks.copy(self.method)
        self.networks.place()
        self.make_roles()
        self.resume()
        self.make_loader()
        self.networks.wrap()

    def make_roles(self) -> None:
        """Create the optimizers and the learner that steps them."""
        self.roles = roles_of(self.networks.trained, self.config)
        self.learner = Learner(
            self.method, self.networks, self.roles, self.health, self.config, self.accelerator
        )

    def make_loader(self) -> None:
        """Create the data loader, positioned after the images seen so far."""
        self.loader = Loader(
            self.dataset,
            self.images,
            self.config.batch,
            self.config.gradient_accumulation,
            self.config.seed,
            self.config.flip,
            self.accelerator.device,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.student.guidance,
        )

    @property
    def student(self) -> Denoiser:
        """The network that is trained."""
        return self.networks.student

    @property
    def average(self) -> Denoiser:
        """The exported running average of the student; in shards where the student is, see `result`."""
        return self.networks.averages.ema

    @property
    def targets(self) -> dict[str, Denoiser]:
        """The averages of the student that serve the method as targets, by role."""
        return self.networks.averages.targets

    @property
    def trained(self) -> Nets:
        """The student and the method's extra networks, by role."""
        return self.networks.trained

    @property
    def frozen(self) -> Nets:
        """The networks that are only evaluated, by role."""
        return self.networks.frozen

    def result(self) -> Denoiser:
        """Return the exported average as one whole model; every process must call it at once."""
        return self.networks.result()

    # ---- its steps

    def __iter__(self) -> Iterator[tuple[int, Line | None]]:
        config = self.config
        with (
            closing(Log(self.folder, self.step, self.images, self.accelerator)) as log,
            closing(self.loader),
        ):
            saved_at = time.monotonic()
            started = saved_at - self.seconds
            forget_peak(self.accelerator.device)
            while self.step < config.steps:
                self.figures |= self.advance()
                self.seconds = time.monotonic() - started
                save_due = self.step == config.steps or self.step % config.save_every == 0
                overdue = time.monotonic() - saved_at > 60 * config.save_minutes
                save, stop = self.poll.flags(self.step, self.seconds, overdue)
                # Lines are due by the step alone, so that the log does not depend on when states are saved.
                line_due = save_due or self.step % config.log_every == 0
                if line_due or save:
                    self.health.check()
                line = self.write_line(log) if line_due else None
                if save_due or save:
                    self.save()
                    saved_at = time.monotonic()
                yield self.step, line
                if stop:
                    who = self.signals.stop or "another process"
                    raise Interrupted(
                        f"stopped by {who} and saved at step {self.step} of {config.steps} in {self.folder}: "
                        "the same command goes on"
                    )

    def write_line(self, log: Log) -> Line:
        """Write the newest figures and the pace; return the figures."""
        line = loggable(self.figures | self.networks.averages.drifts(self.student))
        self.health.record_coverage(line, second_half=self.step > self.config.steps / 2)
        self.pace = log.write(self.step, self.images, line, self.loader.waited)
        self.loader.waited = 0.0
        return line

    def advance(self) -> Figures:
        """Make one step: every turn of it, and the averages; return its figures."""
        config = self.config
        images_before = self.images
        progress = self.progress(self.step, config.steps, self.images)
        rate = self.roles["student"].config.rate(self.step)
        logs: Figures = {"lr": torch.tensor(rate, dtype=torch.float64)}
        bad: list[str] = []
        # For dropout and the like; a batch's own noise comes from its positions.
        set_seed(hash((config.seed, self.step, self.accelerator.process_index)) & 0x7FFFFFFF)
        for turn in self.method.turns(progress):
            figures, updated = self.learner.learn(turn, self.loader, progress)
            self.images += config.batch
            prefix = "" if "student" in turn else "+".join(turn) + "/"
            figures = {prefix + name: value for name, value in figures.items()}
            logs |= figures
            if updated or not config.max_skips:  # a scaler's skip excuses no loss
                self.health.watch(figures, self.step + 1)
            if not updated:
                bad += self.health.not_finite(figures)
            elif "student" in turn:
                self.networks.averages.update(self.student, self.step, progress)
        self.step += 1
        self.health.positions[self.step] = images_before, self.images
        if config.max_skips:
            self.health.count_skips(bad, self.step)
            logs["skipped"] = torch.tensor(self.health.skipped)
        return logs

    # ---- its state

    def nets(self) -> Nets:
        """Return the networks that change during training, by role."""
        return self.networks.changing()

    def tensors(self) -> Tensors:
        """Return all tensors that resume a training, by name; every process must call it at once.

        They are whole and in main memory on the main process, and empty on the others.
        """
        named = self.networks.state_dict()
        for name, role in self.roles.items():
            named |= with_prefix(f"optimizer.{name}", role.state_dict())
        saves = self.accelerator.is_main_process
        tensors: Tensors = {}
        for name, value in named.items():  # one by one: the device need not hold all of them whole
            whole = gather_shards(value)
            tensors[name] = whole.cpu() if saves else whole.new_empty(0)
        return tensors

    def load_tensors(self, tensors: Tensors) -> None:
        """Load what `tensors` returned on the main process."""
        self.networks.load_state_dict(tensors)
        for name, role in self.roles.items():
            role.load_state_dict(below(f"optimizer.{name}", tensors))

    def state_dict(self) -> dict[str, Any]:
        """Return the plain data that resume a training; every process must call it at once."""
        scaler = self.accelerator.scaler
        marks = gather_object([self.dataset.marks(self.images)])
        return {
            "images": self.images,
            "seconds": self.seconds,
            "scaler": scaler.state_dict() if scaler else None,
            **self.health.state_dict(),
            "data": merged(marks),
            "figures": loggable(self.figures),
        }

    def load_state_dict(self, record: dict[str, Any]) -> None:
        """Load what `state_dict` returned, with its step; states of earlier versions lack some keys."""
        self.step = record["step"]
        self.images = record["images"]
        self.seconds = record["seconds"]
        self.health.load_state_dict(record)
        self.figures = {
            name: torch.tensor(math.nan if value is None else value, dtype=torch.float64)
            for name, value in record.get("figures", {}).items()
        }
        if self.accelerator.scaler and record["scaler"]:
            self.accelerator.scaler.load_state_dict(record["scaler"])

    def save(self) -> None:
        """Save a state; every process must call it at once."""
        tensors = self.tensors()
        record = self.state_dict()
        if self.accelerator.is_main_process:
            save_state(self.folder / "state", self.step, tensors, record, self.config.keep_last)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Load the newest undamaged state in the folder, if there is one."""
        with self.accelerator.main_process_first():  # one process sets a damaged state aside
            found = load_state(self.folder / "state")
        if found is None:
            self.dataset.seek({})
            return
        tensors, record = found
        self.dataset.seek(record.get("data", {}))
        self.load_state_dict(record)
        self.load_tensors(tensors)
