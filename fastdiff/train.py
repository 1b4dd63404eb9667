"""The one training loop: it knows roles, optimizers, averages and states, and no method."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from . import ema
from .checkpoint import load_state, save_state
from .data import Dataset, batch_at
from .denoiser import Denoiser
from .errors import FastdiffError

FATAL = ("loss", "grad")       # figures that end a training where they are not finite
NEVER = 1 << 62                # a step that does not come
# Each updates all weights in as few calls as it can.
OPTIMIZERS = {"adam": partial(torch.optim.Adam, fused=True), "adamw": partial(torch.optim.AdamW, fused=True),
              "radam": partial(torch.optim.RAdam, foreach=True)}


@dataclass
class TrainConfig:
    """Settings of a training, the same for every method. batch: examples a step, over all processes."""

    steps: int = 1000
    batch: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    optimizer: Literal["adam", "adamw", "radam"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0                                       # steps of linear warm-up
    decay: Literal["constant", "linear", "cosine"] = "constant"
    clip: float = 1.0                                     # of each role's gradient norm; 0: none
    ema: float = 0.999                                    # decay of the exported average; 0 exports the weights themselves
    flip: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    export: Literal["float32", "float16"] = "float32"
    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    save_minutes: float = 5.0
    sample_every: int = 0                                 # 0: at the end only

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        ramp, left = min(1.0, (step + 1) / (self.warmup + 1)), step / self.steps
        fall = {"constant": 1.0, "linear": 1 - left, "cosine": (1 + math.cos(math.pi * left)) / 2}[self.decay]
        return self.lr * ramp * fall


class Teachable(Protocol):
    """What the loop asks of a method; see methods.base.Method."""

    def extras(self, student: Denoiser, teacher: Denoiser | None) -> dict[str, nn.Module]: ...
    def frozen(self, student: Denoiser, teacher: Denoiser | None) -> dict[str, nn.Module]: ...
    def averages(self) -> dict[str, Callable]: ...
    def turns(self, progress: Any) -> tuple[tuple[str, ...], ...]: ...
    def loss(self, turn: tuple[str, ...], nets: dict, batch: Any, progress: Any) -> tuple[Tensor, dict[str, Tensor]]: ...


@contextmanager
def only(parameters: dict[str, list[nn.Parameter]], turn: tuple[str, ...]) -> Iterator[None]:
    """Gradients pass through the other roles but do not reach their weights."""
    for role, own in parameters.items():
        for p in own:
            p.requires_grad_(role in turn)
    yield
    for own in parameters.values():
        for p in own:
            p.requires_grad_(True)


class Training:
    """One stage: iterating it trains, yielding (step, logs or None) after every step; `average` is the result.

    progress: makes the method's clock of (step, steps, images). folder: of log.jsonl and state/.
    A run is a function of its step: what is drawn depends on (seed, images seen) alone, so it resumes bit for bit.
    """

    def __init__(self, method: Teachable, progress: Callable, student: Denoiser, teacher: Denoiser | None,
                 dataset: Dataset, config: TrainConfig, folder: Path, accelerator: Accelerator):
        if config.batch % (config.accumulate * accelerator.num_processes):
            raise FastdiffError(f"train.batch = {config.batch} does not divide by accumulate {config.accumulate} x "
                                f"{accelerator.num_processes} processes")
        self.method, self.progress, self.dataset, self.config = method, progress, dataset, config
        self.folder, self.accelerator, self.student = folder, accelerator, student
        self.step = self.images = 0
        self.seconds = 0.0
        student.train().requires_grad_(True)
        self.average = deepcopy(student).eval().requires_grad_(False)
        self.targets = {role: deepcopy(self.average) for role in method.averages()}
        self.trained = {"student": student, **method.extras(student, teacher)}
        self.frozen = {"ema": self.average, **self.targets, **method.frozen(student, teacher)}
        if teacher is not None:
            self.frozen["teacher"] = teacher.eval().requires_grad_(False)
        for net in (*self.trained.values(), *self.frozen.values()):
            net.to(accelerator.device)
        weights = {r: [p for p in n.parameters() if p.requires_grad] for r, n in self.trained.items()}
        self.parameters = {r: own for r, own in weights.items() if own}
        kind = OPTIMIZERS[config.optimizer]
        self.optimizers = {r: kind(own, config.lr, betas=config.betas, weight_decay=config.weight_decay)
                           for r, own in self.parameters.items()}
        self.resume()
        self.live = {r: accelerator.prepare(n) if r in self.parameters else n for r, n in self.trained.items()}
        self.optimizers = {r: accelerator.prepare(o) for r, o in self.optimizers.items()}
        self.first_bad: dict[tuple[str, ...], Tensor] = {}       # of figures: at which step each was first not finite

    def __iter__(self) -> Iterator[tuple[int, dict[str, float] | None]]:
        log_file = self.open_log()
        start, saved_at = time.monotonic() - self.seconds, time.monotonic()
        while self.step < self.config.steps:
            logs = self.advance()
            self.seconds = time.monotonic() - start
            last = self.step == self.config.steps
            save = last or self.step % self.config.save_every == 0
            if self.accelerator.num_processes == 1:
                save = save or time.monotonic() - saved_at > 60 * self.config.save_minutes
            due = save or self.step % self.config.log_every == 0
            if due:
                self.stop_if_bad()
                logs = {k: float(v) for k, v in (logs | self.drifts()).items()}
                if self.accelerator.is_main_process:
                    log_file.write(json.dumps({"step": self.step, "images": self.images, **logs}) + "\n")
                    log_file.flush()
            if save:
                self.save()
                saved_at = time.monotonic()
            yield self.step, logs if due else None

    def advance(self) -> dict[str, Tensor]:
        """One step: every turn of it, and the averages."""
        config, logs = self.config, {"lr": torch.tensor(self.config.rate(self.step), dtype=torch.float64)}
        progress = self.progress(self.step, config.steps, self.images)
        torch.manual_seed(hash((config.seed, self.step, self.accelerator.process_index)) & 0x7FFFFFFF)   # dropout
        for turn in self.method.turns(progress):
            prefix = "" if "student" in turn else "+".join(turn) + "/"
            figures = {prefix + k: v for k, v in self.learn(turn, progress).items()}
            self.watch(figures)
            logs |= figures
            if "student" in turn:
                ema.update(self.average, self.student, ema.decay_at(config.ema, self.step))
                for role, decay in self.method.averages().items():
                    ema.update(self.targets[role], self.student, decay(progress))
        self.step += 1
        return logs

    def learn(self, turn: tuple[str, ...], progress: Any) -> dict[str, Tensor]:
        """One update of the roles in a turn, on one global batch."""
        config, accelerator, logs, mean = self.config, self.accelerator, {}, 0.0
        nets = self.frozen | self.trained | {r: self.live[r] for r in turn}
        with only(self.parameters, turn):
            for i in range(config.accumulate):
                batch = batch_at(self.dataset, self.images, config.batch // config.accumulate, config.seed, config.flip,
                                 accelerator.device, accelerator.process_index, accelerator.num_processes,
                                 self.student.guidance)
                with ExitStack() as unsynced:
                    for role in turn if i + 1 < config.accumulate else ():
                        unsynced.enter_context(accelerator.no_sync(self.live[role]))
                    with accelerator.autocast():
                        loss, more = self.method.loss(turn, nets, batch, progress)
                    accelerator.backward(loss / config.accumulate)
                mean = mean + loss.detach() / config.accumulate
                self.images += config.batch // config.accumulate
            for role in turn:
                for group in self.optimizers[role].param_groups:
                    group["lr"] = config.rate(self.step)
                norm = accelerator.clip_grad_norm_(self.parameters[role], config.clip or math.inf)
                self.optimizers[role].step()
                self.optimizers[role].zero_grad()
                logs[f"{role}/grad" if len(turn) > 1 else "grad"] = norm
        return {"loss": mean, **{k: v.detach() for k, v in more.items()}, **logs}

    def drifts(self) -> dict[str, Tensor]:
        """How far the averages that serve as targets are behind the student."""
        return {f"{role}/drift" if len(self.targets) > 1 else "drift": ema.drift(target, self.student)
                for role, target in self.targets.items()}

    def watch(self, figures: dict[str, Tensor]) -> None:
        """Note which figures are not finite at this step, without waiting for the device."""
        if self.accelerator.scaler:                                   # it skips gradients that are not finite
            figures = {name: value for name, value in figures.items() if not name.endswith("grad")}
        values = torch.hstack([value.to(self.accelerator.device, torch.float32) for value in figures.values()])
        names = tuple(figures)
        first = self.first_bad.get(names, torch.full_like(values, NEVER, dtype=torch.int64))
        self.first_bad[names] = torch.where(values.isfinite(), first, first.clamp(max=self.step + 1))

    def stop_if_bad(self) -> None:
        """A loss or a gradient that was not finite ends the training; the complaint names all that was not by then."""
        at: dict[str, int] = {}
        for names, steps in self.first_bad.items():
            at |= {name: min(step, at.get(name, NEVER)) for name, step in zip(names, steps.tolist(), strict=True)}
        step = min((first for name, first in at.items() if name.rpartition("/")[2] in FATAL), default=NEVER)
        if step < NEVER:
            bad = ", ".join(name for name, first in at.items() if first <= step)
            kept = f"the last good state is kept in {state}; " if (state := self.folder / "state").exists() else ""
            raise FastdiffError(f"{bad}: not finite at step {step}: training stopped, {kept}run with a lower train.lr and "
                                "another --out")

    # ---- what resumes

    def tensors(self) -> dict[str, Tensor]:
        """All that changes during training, by name."""
        nets = self.trained | {"ema": self.average} | self.targets
        named = {f"{r}.{k}": v for r, n in nets.items() for k, v in n.state_dict().items()}
        for role, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                named |= {f"optimizer.{role}.{index}.{k}": v for k, v in state.items()}
        return named

    def save(self) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
            record = {"images": self.images, "seconds": self.seconds, "scaler": scaler}
            save_state(self.folder / "state", self.step, self.tensors(), record)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Go on from the newest whole state, if there is one."""
        with self.accelerator.main_process_first():                   # one process sets a damaged state aside
            found = load_state(self.folder / "state")
        if found is None:
            return
        tensors, record = found
        self.step, self.images, self.seconds = record["step"], record["images"], record["seconds"]
        for role, net in (self.trained | {"ema": self.average} | self.targets).items():
            net.load_state_dict({k.removeprefix(f"{role}."): v for k, v in tensors.items() if k.startswith(f"{role}.")})
        for role, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{role}."):
                    index, key = name.removeprefix(f"optimizer.{role}.").split(".", 1)
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        if self.accelerator.scaler and record["scaler"]:
            self.accelerator.scaler.load_state_dict(record["scaler"])

    def open_log(self):
        """log.jsonl with the lines after the resumed step cut off."""
        if not self.accelerator.is_main_process:
            return None
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.step]
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(".log.jsonl.new")
        scratch.write_text("".join(line + "\n" for line in kept))
        scratch.replace(path)
        return path.open("a")
