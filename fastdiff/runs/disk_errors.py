"""One-line messages for disk errors: no space left, read-only, permission denied."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..core.errors import FastdiffError

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, a disk that does not take what is written below a folder ends the work in one line."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None) if isinstance(error, OSError) else number_in(str(error))
        what = getattr(error, "filename", None) or folder
        ours = isinstance(error, OSError | SafetensorError) and Path(
            os.fsdecode(what)
        ).resolve().is_relative_to(folder.resolve())
        if number not in FULL and not (number in REFUSED and ours):
            raise
        remedy = "make room" if number in FULL else "make it writable, or choose another with --out"
        raise FastdiffError(
            f"{what}: {os.strerror(number).lower()}: {remedy}; what was saved before is whole, and the same "
            "command goes on"
        ) from None


def number_in(text: str) -> int | None:
    """The system's number of an error that a library has told as text."""
    found = re.search(r"os error (\d+)", text)
    return int(found[1]) if found else None
