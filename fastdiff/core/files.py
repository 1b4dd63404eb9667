"""Files: JSON with a bound on nesting, atomic writes, checksums, and names derived from contents."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from .errors import FastdiffError

MAX_JSON_DEPTH = 64  # levels of nested lists and objects; fastdiff writes fewer than ten


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Parse a JSON file; raise ValueError if it is not a file, not JSON, or nested too deep."""
    if path.exists() and not path.is_file():  # a pipe would block
        raise ValueError("not a file")
    return parse_json(path.read_bytes())


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that contains an object; raise ValueError if it contains another value or no JSON."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path.name}: expected an object, got {value!r:.80}")
    return value


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; raise ValueError if it is not JSON, or nested deeper than MAX_JSON_DEPTH."""
    try:
        level = [data := json.loads(text)]
    except RecursionError:
        raise ValueError("nested too deep") from None
    for _ in range(MAX_JSON_DEPTH):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
        ]
    if level:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    return data


def write_json(path: Path, data: Any) -> None:
    """Write data to a JSON file atomically."""
    with atomic_write(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)


@contextmanager
def atomic_write(path: Path, sync: bool = True, unique: bool = False) -> Iterator[Path]:
    """Yield a scratch path that replaces `path` on exit; on an error it is removed and `path` is unchanged.

    Args:
        path: the file to write.
        sync: force the bytes to the disk before the rename, so that they survive a power failure.
        unique: use a unique name for the scratch file, for a path that several processes may write at once.
    """
    owner = f".{uuid4().hex}" if unique else ""
    scratch = path.with_name(f".{path.name}{owner}.new")
    try:
        yield scratch
        if sync:
            synced(scratch)
        scratch.replace(path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def synced(path: Path) -> None:
    """Force the bytes of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, option: str = "") -> Path:
    """Create a folder and its parents, and return it.

    Args:
        path: the folder; it may exist already.
        option: the command-line option that gives the folder, such as `--out`, for the error message.

    Raises:
        FastdiffError: if it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = f"{option} {path}: " if option else f"{path} "
        remedy = "" if option else ": choose another directory with --out"
        raise FastdiffError(f"{where}cannot be written ({error.strerror}){remedy}") from None
    return path


def check_writable(folder: Path) -> None:
    """Raise FastdiffError if no file can be written in a folder, before work whose result goes there."""
    probe = folder / f".{uuid4().hex}.new"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FastdiffError(
            f"{folder} cannot be written ({error.strerror}); make it writable, or copy it to another place"
        ) from None


def expanded(path: str | Path) -> Path:
    """Return a path with ~ replaced by the user's home directory.

    Raises:
        FastdiffError: if the system knows no such home, as for a user without an entry in passwd, and for a
            text that cannot be a path.
    """
    try:
        found = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            found.lstat()
    except RuntimeError:
        raise FastdiffError(f"{path}: there is no such home directory; give the path without ~") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FastdiffError(f"{str(path)!r:.200} cannot be a path ({reason})") from None
    return found


def cache_folder(what: str) -> Path:
    """Return the cache folder for one kind of results, in $FASTDIFF_CACHE or the user's cache folder.

    Raises:
        FastdiffError: if neither the environment nor the system names a home directory.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(os.environ.get("FASTDIFF_CACHE") or Path(home) / "fastdiff").expanduser() / what
    except RuntimeError:
        raise FastdiffError(
            "no home directory for the cache; set HOME, or FASTDIFF_CACHE to a writable directory"
        ) from None


def identity(**parts: Any) -> str:
    """Return 16 hexadecimal digits that identify named values; equal values give equal digits."""
    # 1 and 1.0 are equal values: a file may hold either
    same = json.loads(json.dumps(parts), parse_float=lambda text: whole_number(float(text)))
    return hashlib.sha256(json.dumps(same, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def whole_number(value: float) -> int | float:
    """Return a float without a fractional part as an int, any other float as it is."""
    return int(value) if value.is_integer() else value


def strict_json(value: Any) -> str:
    """Return a value as strict JSON, in which numbers that are not finite become null."""
    return json.dumps(without_infinities(value), allow_nan=False)


def without_infinities(value: Any) -> Any:
    """Return a value with each float in it that is not finite replaced by None."""
    if isinstance(value, dict):
        return {key: without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
