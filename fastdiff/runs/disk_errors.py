"""Disk errors as one-line messages: no space left, read-only, permission denied."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..core.errors import FastdiffError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_ACCESS = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP,
)  # fmt: skip


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn disk errors that a block raises into FastdiffErrors of one line.

    Args:
        folder: the folder that the block writes to. A full disk is reported wherever it is; a read-only disk
            and missing permissions only for files in this folder.
    """
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None) if isinstance(error, OSError) else error_number(str(error))
        path = getattr(error, "filename", None) or folder
        if number in NO_SPACE:
            remedy = "make room"
        elif number in NO_ACCESS and isinstance(error, OSError | SafetensorError) and is_below(path, folder):
            remedy = "make it writable, or choose another with --out"
        else:
            raise
        raise FastdiffError(
            f"{path}: {os.strerror(number).lower()}: {remedy}, then run the same command again to resume; "
            "earlier checkpoints are intact"
        ) from None


def is_below(path: str | bytes | Path, folder: Path) -> bool:
    """Return whether a path lies below a folder, or is the folder."""
    return Path(os.fsdecode(path)).resolve().is_relative_to(folder.resolve())


def error_number(message: str) -> int | None:
    """Return the system's error number in a library's error message, or None."""
    match = re.search(r"os error (\d+)", message)
    return int(match[1]) if match else None
