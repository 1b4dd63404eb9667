"""One writer at a time: a lock on a run's directory that dies with its process."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.errors import FastdiffError


@contextmanager
def lock(out: str | Path) -> Iterator[None]:
    """Hold `out`/.lock, in an existing directory; FastdiffError at once where another sweep holds it.

    The file stays and means nothing by itself: the kernel's lock on it ends with its process, however that
    ends. A file system that knows no locks is written without one.
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
def alone(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """The directory's lock, held by the main process; where it is refused, every process says so."""
    refusal = [None]
    with ExitStack() as held:
        if accelerator.is_main_process:
            try:
                held.enter_context(lock(out))
            except FastdiffError as error:
                refusal = [error]
        broadcast_object_list(refusal)
        if refusal[0]:
            raise refusal[0]
        yield
