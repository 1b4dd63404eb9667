"""Signals: SIGTERM and SIGINT request a stop, SIGUSR1 a checkpoint; a second SIGTERM or SIGINT kills."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from ..core.errors import Interrupted

REPEAT_SECONDS = 0.5  # a signal repeated sooner is the same one, passed on by a launcher as well
POLL_SECONDS = 1.0  # time between all-reduces of the save and stop flags


class Signals:
    """The pending requests to stop or save. Outside of a training loop a stop raises Interrupted at once.

    Attributes:
        stop: name of the signal that requested a stop, or None.
        save: whether a checkpoint is requested.
        polled: whether a training loop polls for requests.
        at: time of the stop request, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.stop: str | None = None
        self.save = False
        self.polled = False
        self.at = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: record its request, or end the program.

        Args:
            number: number of the signal.
            frame: frame that was interrupted; ignored.
        """
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop is None:
            self.stop = signal.Signals(number).name
            self.at = time.monotonic()
            if not self.polled:
                self.end()
        elif time.monotonic() - self.at > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def end(self) -> None:
        """Raise Interrupted, which ends the program."""
        raise Interrupted(
            f"stopped by {self.stop}; saved states are kept: run the same command again to resume"
        )

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Leave requests to a loop that polls them, within the context; raise a missed stop at its end."""
        self.polled = True
        try:
            yield
        finally:
            self.polled = False
        if self.stop:
            self.end()


class SignalPoll:
    """The combined requests of all processes: if one is to save or to stop, all do.

    Args:
        signals: requests to this process.
        accelerator: accelerator of this process.
        save_every: largest number of steps between two all-reduces of the flags.
    """

    def __init__(self, signals: Signals, accelerator: Accelerator, save_every: int) -> None:
        self.signals = signals
        self.accelerator = accelerator
        self.save_every = save_every
        self.next_step = 0  # the first step at which the processes exchange their flags again

    def flags(self, step: int, seconds: float, overdue: bool) -> tuple[bool, bool]:
        """Return whether to save and whether to stop after this step, the same on every process.

        Args:
            step: number of steps that are done.
            seconds: time that they took.
            overdue: whether this process's last checkpoint is too old.
        """
        save = overdue or self.signals.save
        stop = self.signals.stop is not None
        processes = self.accelerator.num_processes
        if processes > 1:
            if step < self.next_step:
                return False, False
            flags = torch.tensor([save, stop, seconds / step], device=self.accelerator.device)
            saves, stops, seconds_per_step = self.accelerator.reduce(flags, "sum").tolist()
            save = saves > 0
            stop = stops > 0
            steps = int(POLL_SECONDS * processes / max(seconds_per_step, 1e-9))
            self.next_step = step + max(1, min(steps, self.save_every))
        if save:
            self.signals.save = False
        return save or stop, stop


@contextmanager
def handle_signals() -> Iterator[Signals]:
    """Turn signals into requests within the context; outside of the main thread there are never any."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
