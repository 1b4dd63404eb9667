"""Signals: SIGTERM and SIGINT request a stop, SIGUSR1 a saved state; a second SIGTERM or SIGINT kills."""

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

AGAIN = 0.5  # seconds: a signal repeated sooner is the same one, which a launcher has passed on too
POLL_SECONDS = 1.0  # between all-reduces of the save and stop flags


class Signals:
    """Pending stop and save requests. Outside of a training loop a stop raises `Interrupted` immediately.

    Attributes:
        stop: name of the signal that requested a stop, if one did.
        save: whether a saved state is requested.
        heeds: whether a training loop polls for requests.
        at: when the stop was requested, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.stop: str | None = None
        self.save = False
        self.heeds = False
        self.at = 0.0

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop is None:
            self.stop = signal.Signals(number).name
            self.at = time.monotonic()
            if not self.heeds:
                self.end()
        elif time.monotonic() - self.at > AGAIN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def end(self) -> None:
        """Raise Interrupted, which ends the program."""
        raise Interrupted(f"stopped by {self.stop}; what was saved is kept: the same command goes on")

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Within the context, a loop polls for requests; a stop that it missed is raised at the end."""
        self.heeds = True
        try:
            yield
        finally:
            self.heeds = False
        if self.stop:
            self.end()


class SignalPoll:
    """The requests of all processes as one: where one process is to save or to stop, all are.

    Args:
        signals: the requests to this process.
        accelerator: of this process.
        save_every: most steps between two exchanges of the processes.
    """

    def __init__(self, signals: Signals, accelerator: Accelerator, save_every: int) -> None:
        self.signals = signals
        self.accelerator = accelerator
        self.save_every = save_every
        self.next_step = 0  # the first at which the processes exchange their flags again

    def flags(self, step: int, seconds: float, overdue: bool) -> tuple[bool, bool]:
        """Return whether to save and whether to stop after this step, the same on every process.

        Args:
            step: steps that are done.
            seconds: how long they took.
            overdue: whether this process's last saved state is too old.
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
def heard() -> Iterator[Signals]:
    """Within the context, signals become requests; Python gets none in a thread other than the main one."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, signals.hear) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
