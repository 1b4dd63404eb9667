"""The one training loop: it knows roles, optimizers, averages and states, and no method."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn

from ..core import ema
from ..core.cost import forget_peak
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError, Interrupted
from ..data.loader import Loader
from ..data.registry import Readable
from ..data.stream import merged
from ..networks import lora
from .checkpoint import load_state, save_state
from .config import TrainConfig
from .health import Health, plain
from .logger import Log
from .placement import halve, laid, offload, recompute, shard, unsynced, whole
from .roles import only, roles_of
from .signals import Signals

TALK = 1.0  # seconds between the processes' questions whether one of them was asked to save or to stop


class Teachable(Protocol):
    """What the loop asks of a method; see methods.base.Method."""

    def extras(self, student: Denoiser, teacher: Denoiser | None) -> dict[str, nn.Module]: ...
    def frozen(self, student: Denoiser, teacher: Denoiser | None) -> dict[str, nn.Module]: ...
    def averages(self) -> dict[str, Callable]: ...
    def turns(self, progress: Any) -> tuple[tuple[str, ...], ...]: ...
    def loss(
        self, turn: tuple[str, ...], nets: dict, batch: Any, progress: Any
    ) -> tuple[Tensor, dict[str, Tensor]]: ...


class Training:
    """One stage: iterating it trains, yielding (step, logs or None) after every step; `result()` is what comes of it.

    progress: makes the method's clock of (step, steps, images). folder: of log.jsonl, pace.jsonl and state/. signals: whose
    wish to save or to stop is heeded between two steps. pace: images a second and the share of time spent waiting for data
    since the log's last line, and the peak of memory.
    A run is a function of its step: what is drawn depends on (seed, images seen) alone, so it resumes bit for bit.
    """

    def __init__(
        self,
        method: Teachable,
        progress: Callable,
        student: Denoiser,
        teacher: Denoiser | None,
        dataset: Readable,
        config: TrainConfig,
        folder: Path,
        accelerator: Accelerator,
        signals: Signals | None = None,
    ) -> None:
        if config.batch % (config.accumulate * accelerator.num_processes):
            raise FastdiffError(
                f"train.batch = {config.batch} does not divide by accumulate {config.accumulate} x "
                f"{accelerator.num_processes} processes"
            )
        if config.lora and config.shard:
            raise FastdiffError(
                "train.shard: an adapter, train.lora, is not split over processes: leave one of them out"
            )
        self.method, self.progress, self.dataset, self.config = method, progress, dataset, config
        self.folder, self.accelerator, self.student = folder, accelerator, student
        self.signals = signals or Signals()
        self.step = self.images = 0
        self.seconds = 0.0
        self.figures: dict[str, Tensor] = {}  # the newest of each: not every turn is in every step
        self.pace: dict[str, float] = {}
        self.talk_at = 0  # the step after which the processes next ask each other
        student.train().requires_grad_(True)
        if config.lora:
            lora.adapt(student, config.lora)
        # Weights below an adapter: not trained, averaged or saved.
        self.fixed = {name for name, p in student.named_parameters() if not p.requires_grad}
        self.average, *targets = (
            lora.twin(student).eval().requires_grad_(False) for _ in ("ema", *method.averages())
        )
        self.targets = dict(zip(method.averages(), targets))
        self.trained = {"student": student, **method.extras(student, teacher)}
        self.frozen = {"ema": self.average, **self.targets, **method.frozen(student, teacher)}
        if teacher is not None:
            self.frozen["teacher"] = teacher.eval().requires_grad_(False)
            if config.teacher == "bfloat16":  # and not before extras copied it
                halve(teacher)
        self.health = Health(folder, dataset, config.seed, config.max_skips, accelerator)
        self.place()
        self.roles = roles_of(self.trained, config)
        self.resume()
        self.read_on()
        self.live = {
            r: accelerator.prepare(n) if r in self.roles and not self.in_shards(n) else n
            for r, n in self.trained.items()
        }
        for net in self.trained.values():  # accelerate's own autocast would be on where a method turns it off
            net.__dict__.pop("forward", None)

    def in_shards(self, net: nn.Module) -> bool:
        """Whether a network lies in shards: models do, where there are several processes; what else is learned is small."""
        return self.config.shard and self.accelerator.num_processes > 1 and isinstance(net, Denoiser)

    def place(self) -> None:
        """Bring every network to where it is to lie."""
        device, teacher = self.accelerator.device, self.frozen.get("teacher")
        self.plain = deepcopy(self.average) if self.in_shards(self.average) else self.average
        if self.config.gradient_checkpointing:
            recompute(self.student)
        for net in {id(net): net for net in (*self.frozen.values(), *self.trained.values())}.values():
            away = self.config.offload and net is teacher
            if self.in_shards(net):
                net.to("cpu" if away else device)
                shard(net, device, away)
            elif away:
                offload(net, device)
            else:
                net.to(device)

    def read_on(self) -> None:
        """Take the next batches from where the images seen so far end."""
        config, here = self.config, self.accelerator
        self.loader = Loader(
            self.dataset,
            self.images,
            config.batch,
            config.accumulate,
            config.seed,
            config.flip,
            here.device,
            here.process_index,
            here.num_processes,
            self.student.guidance,
        )

    def result(self) -> Denoiser:
        """The exported average as one whole model; every process asks at once."""
        if self.in_shards(self.average):
            self.plain.load_state_dict({k: whole(v) for k, v in self.average.state_dict().items()})
        return self.plain

    def __iter__(self) -> Iterator[tuple[int, dict[str, float | None] | None]]:
        config, device = self.config, self.accelerator.device
        with (
            closing(Log(self.folder, self.step, self.images, self.accelerator)) as log,
            closing(self.loader) as loader,
        ):
            start = saved_at = time.monotonic()
            start -= self.seconds
            forget_peak(device)
            while self.step < config.steps:
                self.figures |= self.advance()
                self.seconds = time.monotonic() - start
                planned = self.step == config.steps or self.step % config.save_every == 0
                save, stop = self.asked(time.monotonic() - saved_at > 60 * config.save_minutes)
                due = (
                    planned or self.step % config.log_every == 0
                )  # a function of the step, and so is the log
                if due or save:
                    self.health.check()
                if due:
                    logs = plain(self.figures | self.drifts())
                    self.health.cover(logs, self.step > config.steps / 2)
                    self.pace = log.write(self.step, self.images, logs, loader.waited)
                    loader.waited = 0.0
                if planned or save:
                    self.save()
                    saved_at = time.monotonic()
                yield self.step, logs if due else None
                if stop:
                    who = self.signals.stop or "another process"
                    raise Interrupted(
                        f"stopped by {who} and saved at step {self.step} of {config.steps} in {self.folder}: "
                        "the same command goes on"
                    )

    def asked(self, late: bool) -> tuple[bool, bool]:
        """Whether to save, and to stop, before the next step: what one process is asked for, all do."""
        signals, processes = self.signals, self.accelerator.num_processes
        save, stop = late or signals.save, signals.stop is not None
        if processes > 1:
            if self.step < self.talk_at:
                return False, False
            asked = torch.tensor([save, stop, self.seconds / self.step], device=self.accelerator.device)
            saves, stops, pace = self.accelerator.reduce(asked, "sum").tolist()
            save, stop = saves > 0, stops > 0
            self.talk_at = self.step + max(
                1, min(int(TALK * processes / max(pace, 1e-9)), self.config.save_every)
            )
        signals.save = False if save else signals.save
        return save or stop, stop

    def advance(self) -> dict[str, Tensor]:
        """One step: every turn of it, and the averages."""
        config, logs = (
            self.config,
            {"lr": torch.tensor(self.roles["student"].config.rate(self.step), dtype=torch.float64)},
        )
        progress, bad = self.progress(self.step, config.steps, self.images), []
        before = self.images
        set_seed(
            hash((config.seed, self.step, self.accelerator.process_index)) & 0x7FFFFFFF
        )  # of dropout, say
        for turn in self.method.turns(progress):
            prefix = "" if "student" in turn else "+".join(turn) + "/"
            figures, updated = self.learn(turn, progress)
            logs |= (figures := {prefix + k: v for k, v in figures.items()})
            if updated or not config.max_skips:  # a scaler's skip excuses no loss
                self.health.watch(figures, self.step + 1)
            if not updated:
                bad += [
                    name for name, value in self.health.told(figures).items() if not value.isfinite().all()
                ]
                continue
            if "student" in turn:
                ema.update(self.average, self.student, ema.decay_at(config.ema, self.step))
                for role, decay in self.method.averages().items():
                    ema.update(self.targets[role], self.student, decay(progress))
        self.step += 1
        self.health.seen[self.step] = before, self.images
        if config.max_skips:
            self.health.skip(bad, self.step)
            logs["skipped"] = torch.tensor(self.health.skipped)
        return logs

    def learn(self, turn: tuple[str, ...], progress: Any) -> tuple[dict[str, Tensor], bool]:
        """One update of the roles in a turn, on one global batch; False where it was skipped."""
        config, accelerator, mean, parts = self.config, self.accelerator, 0.0, []
        learning = {name: self.roles[name] for name in turn}
        nets = self.frozen | self.trained | {r: self.live[r] for r in turn}
        with only(self.roles, turn):
            for part in range(config.accumulate):
                batch = self.loader.next()
                with ExitStack() as alone:
                    for role in turn if part + 1 < config.accumulate else ():
                        alone.enter_context(unsynced(self.live[role], accelerator))
                    with accelerator.autocast():
                        loss, more = self.method.loss(turn, nets, batch, progress)
                    accelerator.backward(loss / config.accumulate)
                mean = mean + loss.detach() / config.accumulate
                parts.append({name: value.detach() for name, value in more.items()})
            self.images += config.batch
            mean = accelerator.reduce(mean, "mean")
            for role in learning.values() if accelerator.scaler else ():
                accelerator.scaler.unscale_(role.optimizer)
            norms = {
                f"{name}/grad" if len(turn) > 1 else "grad": role.clipped() for name, role in learning.items()
            }
            updated = self.health.may_update({"loss": mean, **norms})
            for role in learning.values():
                role.update(self.step, accelerator.scaler, updated)
            updated = self.health.scaled(accelerator.scaler) and updated
        figures = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
        return {"loss": mean, **figures, **norms}, updated

    def drifts(self) -> dict[str, Tensor]:
        """How far the averages that serve as targets are behind the student."""
        return {
            f"{role}/drift" if len(self.targets) > 1 else "drift": whole(ema.drift(target, self.student))
            for role, target in self.targets.items()
        }

    # ---- what resumes

    def nets(self) -> dict[str, nn.Module]:
        """The networks that change during training."""
        return self.trained | {"ema": self.average} | self.targets

    def learned(self, role: str, net: nn.Module) -> dict[str, Tensor]:
        """What changes of one of them."""
        fixed = self.fixed if role in ("student", "ema", *self.targets) else ()
        return {name: value for name, value in net.state_dict().items() if name not in fixed}

    def tensors(self) -> dict[str, Tensor]:
        """All that changes during training, by name, whole; every process asks at once."""
        named = {f"{r}.{k}": v for r, n in self.nets().items() for k, v in self.learned(r, n).items()}
        named |= {
            f"optimizer.{r}.{k}": v for r, role in self.roles.items() for k, v in role.tensors().items()
        }
        here = self.accelerator.is_main_process  # who keeps them: in main memory, one by one
        full = ((name, whole(value)) for name, value in named.items())
        return {name: value.cpu() if here else value.new_empty(0) for name, value in full}

    def save(self) -> None:
        tensors, marks = self.tensors(), self.dataset.marks(self.images)
        marks = merged(gather_object([marks]))
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
            record = {
                "images": self.images,
                "seconds": self.seconds,
                "scaler": scaler,
                "skipped": self.health.skipped,
                "row": self.health.row,
                "coverages": self.health.coverages,
                "data": marks,
                "figures": plain(self.figures),
            }
            save_state(self.folder / "state", self.step, tensors, record, self.config.keep)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Go on from the newest whole state, if there is one."""
        with self.accelerator.main_process_first():  # one process sets a damaged state aside
            found = load_state(self.folder / "state")
        tensors, record = found or ({}, {})
        self.dataset.seek(record.get("data", {}))
        if found is None:
            return
        self.step, self.images, self.seconds = record["step"], record["images"], record["seconds"]
        self.health.skipped, self.health.row = record.get("skipped", 0), record.get("row", 0)
        self.health.coverages = record.get("coverages", [])
        self.figures = {
            name: torch.tensor(math.nan if value is None else value, dtype=torch.float64)
            for name, value in record.get("figures", {}).items()
        }
        for role, net in self.nets().items():
            own = self.learned(role, net)
            net.load_state_dict(
                {k: laid(tensors[f"{role}.{k}"], v) for k, v in own.items()}, strict=not self.fixed
            )
        for name, role in self.roles.items():
            start = f"optimizer.{name}."
            role.resume({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        if self.accelerator.scaler and record["scaler"]:
            self.accelerator.scaler.load_state_dict(record["scaler"])
