"""The training loop of all methods: roles, optimizers, averages and checkpoints."""

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
from ..core.former_names import renamed_role_tensors
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
from .weights import Tensors, with_prefix, without_prefix

Line = dict[str, float | None]  # a line of the log


class Training:
    """The training of one stage: iterating it yields (step, line of the log or None) after every step.

    All random draws depend on (seed, images seen) only, so that it resumes bit for bit.

    Args:
        method: the method, which defines the losses and the networks.
        progress: function that makes the method's Progress from (step, steps, images).
        student: the network that is trained and whose average is exported.
        teacher: the frozen network that the method learns from, if any.
        dataset: the data.
        config: the settings.
        folder: folder of log.jsonl, pace.jsonl and state/; the newest state in it is resumed.
        accelerator: accelerator of this process.
        signals: requests to save or to stop, which are answered between two steps.

    Attributes:
        step, images, seconds: number of steps, images seen and seconds so far.
        figures: the newest value of each figure, since not every turn is in every step.
        pace: the newest line of pace.jsonl; see logger.Log.write.
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
        """Prepare the networks, optimizers and data. Each step needs the steps before it.

        adapt: an adapter decides which weights are trained, and copies share the others.
        copy: averages and extra networks are copied from whole networks in full precision, on their device.
        place: optimizers need the parameters in their final place and form.
        make_roles: a checkpoint includes the optimizers' moments.
        resume: a checkpoint includes the number of images seen.
        make_loader: the loader reads ahead from that image.
        wrap: DDP copies the first process's weights when it is created, and changes the names in a state.
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
        """The exported running average of the student; in shards if the student is, see `result`."""
        return self.networks.averages.ema

    @property
    def targets(self) -> dict[str, Denoiser]:
        """The running averages of the student that are the method's targets, by role."""
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
        """Return the exported average as one whole model; every process must call this at the same time."""
        return self.networks.result()

    # ---- steps

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
                # Lines depend on the step only, so that the log does not depend on when states are saved.
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
                        "run the same command again to resume"
                    )

    def write_line(self, log: Log) -> Line:
        """Append the newest figures and the pace to the logs; return the figures."""
        line = loggable(self.figures | self.networks.averages.drifts(self.student))
        self.health.record(line, second_half=self.step > self.config.steps / 2)
        self.pace = log.write(self.step, self.images, line, self.loader.waited)
        self.loader.waited = 0.0
        return line

    def advance(self) -> Figures:
        """Run all turns of one step and update the averages; return the figures of the step."""
        config = self.config
        images_before = self.images
        progress = self.progress(self.step, config.steps, self.images)
        rate = self.roles["student"].config.rate(self.step)
        logs: Figures = {"lr": torch.tensor(rate, dtype=torch.float64)}
        bad: list[str] = []
        # The seed of dropout and the like; the noise of a batch depends on its positions only.
        set_seed(hash((config.seed, self.step, self.accelerator.process_index)) & 0x7FFFFFFF)
        for turn in self.method.turns(progress):
            figures, updated = self.learner.learn(turn, self.loader, progress)
            self.images += config.batch
            prefix = "" if "student" in turn else "+".join(turn) + "/"
            figures = {prefix + name: value for name, value in figures.items()}
            logs |= figures
            if updated or not config.max_skips:  # a loss must be finite even if a scaler skips the update
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

    # ---- state

    def nets(self) -> Nets:
        """Return the networks that change during training, by role."""
        return self.networks.changing()

    def tensors(self) -> Tensors:
        """Return all tensors of a checkpoint, by name; every process must call this at the same time.

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
        """Load the tensors that `tensors` returned on the main process."""
        self.networks.load_state_dict(tensors)
        for name, role in self.roles.items():
            role.load_state_dict(without_prefix(f"optimizer.{name}", tensors))

    def state_dict(self) -> dict[str, Any]:
        """Return the plain data of a checkpoint; every process must call this at the same time."""
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
        """Load the data of `state_dict`, with its step; states of earlier versions lack some keys."""
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
        """Save a checkpoint; every process must call this at the same time."""
        tensors = self.tensors()
        record = self.state_dict()
        if self.accelerator.is_main_process:
            save_state(self.folder / "state", self.step, tensors, record, self.config.keep_last)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Load the newest undamaged checkpoint in the folder, if one exists."""
        with self.accelerator.main_process_first():  # one process renames a damaged state
            saved = load_state(self.folder / "state")
        if saved is None:
            self.dataset.seek({})
            return
        tensors, record = saved
        self.dataset.seek(record.get("data", {}))
        self.load_state_dict(record)
        self.load_tensors(renamed_role_tensors(tensors, self.roles))
