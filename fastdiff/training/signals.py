"""Signals: a first SIGTERM or SIGINT asks for an end, SIGUSR1 for a saved state; a second SIGTERM or SIGINT ends at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..core.errors import Interrupted

AGAIN = 0.5  # seconds: a signal repeated so soon is the same one, which a launcher has passed on too


class Signals:
    """What was asked for. Where nobody heeds it (no training goes on) an end comes by an exception, at once."""

    def __init__(self) -> None:
        self.stop: str | None = None  # the signal's name
        self.save = self.heeds = False
        self.at = 0.0

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop is None:
            self.stop, self.at = signal.Signals(number).name, time.monotonic()
            if not self.heeds:
                self.end()
        elif time.monotonic() - self.at > AGAIN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def end(self) -> None:
        """End the program."""
        raise Interrupted(f"stopped by {self.stop}; what was saved is kept: the same command goes on")

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Inside, somebody looks; what came too late to be seen holds at the end."""
        self.heeds = True
        try:
            yield
        finally:
            self.heeds = False
        if self.stop:
            self.end()


@contextmanager
def heard() -> Iterator[Signals]:
    """Inside, signals are heard; in a thread that is not the main one Python hears none."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {
        number: signal.signal(number, signals.hear)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
