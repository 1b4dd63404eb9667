"""Locks on directories of runs: one writer at a time, released when its process ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.errors import FastdiffError


@dataclass
class HeldLock:
    """A proof that this run holds the lock of a directory: functions that get it do not lock again."""

    folder: Path
    held: bool = True

    def covers(self, folder: Path) -> bool:
        """Return whether this is the lock of a folder, and is still held."""
        return self.held and folder.resolve() == self.folder.resolve()


@contextmanager
def lock(out: str | Path) -> Iterator[None]:
    """Hold the lock `out`/.lock of an existing directory.

    The file remains, and means nothing by itself: the kernel releases its lock when the process ends, in
    whatever way. On a file system without locks nothing is locked.

    Raises:
        FastdiffError: at once, if another process holds it or the directory cannot be written.
    """
    try:
        opened = open(Path(out) / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise FastdiffError(
            f"{out} cannot be written ({error.strerror}): choose another directory with --out"
        ) from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise FastdiffError(
                f"{out} is being written by {holder}: wait for it, or choose another --out"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n"
        )
        file.flush()
        yield


@contextmanager
def alone(out: Path, accelerator: Accelerator, held: HeldLock | None = None) -> Iterator[HeldLock]:
    """Hold a directory's lock on the main process, for all processes.

    Args:
        out: existing directory.
        accelerator: accelerator of this process.
        held: lock of the caller; if it covers `out`, nothing is locked, nor released on exit.

    Raises:
        FastdiffError: on every process, if another run holds it.
    """
    if held is not None and held.covers(out):
        yield held
        return
    refusal: list[FastdiffError | None] = [None]
    with ExitStack() as stack:
        if accelerator.is_main_process:
            try:
                stack.enter_context(lock(out))
            except FastdiffError as error:
                refusal = [error]
        broadcast_object_list(refusal)
        if refusal[0]:
            raise refusal[0]
        own = HeldLock(out)
        try:
            yield own
        finally:
            own.held = False
