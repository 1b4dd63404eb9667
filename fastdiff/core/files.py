"""Files of data: JSON, read with suspicion and written whole or not at all, and their checksum."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

LEVELS = 64  # of lists and objects in one another: nothing of ours has ten


def sha256(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """What a file says; ValueError where that is no JSON, or nested too deep."""
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise ValueError("no file")
    return parse_json(path.read_bytes())


def read_object(path: Path) -> dict[str, Any]:
    """The same of a file that says an object; ValueError where it says something else."""
    said = read_json(path)
    if not isinstance(said, dict):
        raise ValueError(f"{path.name}: expected an object, got {said!r:.80}")
    return said


def parse_json(text: str | bytes) -> Any:
    """What JSON says; ValueError where it is none, or nested too deep."""
    try:
        level = [data := json.loads(text)]
    except RecursionError:
        raise ValueError("nested too deep") from None
    for _ in range(LEVELS):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
    if level:
        raise ValueError(f"nested deeper than {LEVELS} levels")
    return data


def write_json(path: Path, data: Any) -> None:
    """Written to a temporary name, synced and renamed."""
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("w") as file:
        json.dump(data, file, indent=1)
    synced(scratch)
    scratch.replace(path)


def synced(path: Path) -> None:
    """On disk when this returns: a file's bytes, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def identity(**what) -> str:
    """16 hex digits that name everything a figure depends on; equal values give equal names, whatever their order."""
    # 1 and 1.0 are the same guidance, wherever they were read from
    same = json.loads(
        json.dumps(what), parse_float=lambda x: int(float(x)) if float(x).is_integer() else float(x)
    )
    return hashlib.sha256(json.dumps(same, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def written(what: Any) -> str:
    """Strict JSON, in which what is not finite is null."""
    return json.dumps(_plain(what), allow_nan=False)


def _plain(what):
    if isinstance(what, dict):
        return {key: _plain(value) for key, value in what.items()}
    if isinstance(what, list | tuple):
        return [_plain(value) for value in what]
    return None if isinstance(what, float) and not math.isfinite(what) else what


def cache_folder(what: str) -> Path:
    """Where what was computed of data is kept: below $FASTDIFF_CACHE, or fastdiff in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("FASTDIFF_CACHE") or Path(home) / "fastdiff").expanduser() / what
