"""The report of a crash, which can be pasted into an issue: secrets in it are masked."""

import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from ..core.plugins import plugin_hashes
from ..evaluation.provenance import commit

PACKAGES = ("fastdiff", "torch", "accelerate", "diffusers", "datasets")
LOG_LINES = 20  # lines shown of a log and of a status
SECTION_LETTERS = 20_000  # length limit of a section; an issue holds 65,536 letters
MASKED_TEXT = "[masked]"
SECRET_WORDS = r"token|key|secret|passw|pwd|auth|credential|signature|\bsig\b|wandb"
# Credentials and queries in URLs; private keys; bearer tokens; settings with a secret's name; tokens of hubs,
# of clouds and in JWT form; long strings of mixed letters and digits.
SECRET_PATTERNS = [
    (re.compile(r"://[^/\s@'\"]+@"), f"://{MASKED_TEXT}@"),
    (re.compile(r"(://[^\s'\"?]+\?)[^\s'\"]+"), rf"\1{MASKED_TEXT}"),
    (re.compile(r"-----BEGIN [\w ]+-----.*?-----END [\w ]+-----", re.S), MASKED_TEXT),
    (re.compile(r"(?i)\b(bearer|authorization:\s*basic)\s+[\w+/=.~-]{8,}"), rf"\1 {MASKED_TEXT}"),
    (
        re.compile(
            rf"(?i)((?<![\w-])[\w-]*(?:{SECRET_WORDS})(?!\w*error)[\w-]*[\"']?\s*[:=]\s*)"
            r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;)\]}]+)"
        ),
        rf"\1{MASKED_TEXT}",
    ),
    (re.compile(r"\b(?:hf|sk|pk|rk|gh[a-z]|github_pat|glpat|xox[a-z]|api)[-_][\w-]{8,}"), MASKED_TEXT),
    (re.compile(r"\b(?:AKIA|ASIA|AIza)[\w-]{12,}"), MASKED_TEXT),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+)*"), MASKED_TEXT),
    (
        re.compile(
            r"(?<![\w./~+-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d[\w+/-]*\d)\w[\w+/-]{31,}={0,2}"
        ),
        MASKED_TEXT,
    ),
]


def report(folder: str | Path, source: dict[str, Any], error: BaseException) -> Path | None:
    """Write `folder`/crash-<UTC time>.txt; this function never raises.

    Args:
        folder: the run's directory.
        source: the plain data of the run's recipe.
        error: the exception that ended the run.

    Returns:
        The path of the report; None if it could not be written.
    """
    with suppress(Exception):
        now = datetime.now(UTC)
        rank = os.environ.get("RANK", "0")
        parts = sections(Path(folder), source, error)
        text = "\n\n".join(f"## {title}\n\n{masked(body)[-SECTION_LETTERS:]}" for title, body in parts)
        process = "" if rank == "0" else f"-process-{rank}"
        path = Path(folder) / f"crash-{now:%Y%m%dT%H%M%SZ}{process}.txt"
        path.write_text(f"fastdiff crashed at {now:%Y-%m-%d %H:%M:%S} UTC\n\n{text}\n", encoding="utf-8")
        return path
    return None


def sections(folder: Path, source: dict[str, Any], error: BaseException) -> list[tuple[str, str]]:
    """Return the sections of a report as (title, text); the text of a failed section is its error."""
    parts: dict[str, Callable[[], str]] = {
        "What happened": lambda: "".join(traceback.format_exception(error)).strip(),
        "Versions": lambda: "\n".join(f"{name}: {number}" for name, number in versions().items()),
        "Recipe": lambda: yaml.safe_dump(without_secrets(source), sort_keys=False).strip(),
        "Last lines of the log": lambda: last_lines(newest(folder, "*/log.jsonl")),
        "Last status": lambda: last_lines(newest(folder, "status.json")),
    }
    return [(title, run_section(part)) for title, part in parts.items()]


def run_section(write: Callable[[], str]) -> str:
    """Return the text of a section, or the kind of the error that `write` raised."""
    try:
        return write()
    except Exception as error:
        return f"not available ({type(error).__name__})"


def versions() -> dict[str, str | None]:
    """Return the versions of Python, system, packages and plugins, and the GPUs if torch is loaded."""
    numbers = {"commit": commit(), "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = "not installed"
    numbers |= {f"plugin {name}": f"sha256 {value[:12]}" for name, value in plugin_hashes().items()}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        numbers["gpus"] = ", ".join(names)
    return numbers


def newest(folder: Path, pattern: str) -> Path | None:
    """Return the most recently changed file below a folder that fits a pattern, or None."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def last_lines(path: Path | None) -> str:
    """Return the last lines of a file, after a line with its path in the run."""
    if path is None:
        return "none"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - SECTION_LETTERS))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join([f"{'/'.join(path.parts[-2:])}:", *lines[-LOG_LINES:]])


def without_secrets(value: Any) -> Any:
    """Return a recipe's plain data with the values of all settings masked that are named like secrets."""
    if isinstance(value, dict):
        return {key: MASKED_TEXT if is_secret(key) else without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)


def is_secret(key: Any) -> bool:
    """Return whether a setting is named like a secret, such as token or password."""
    return bool(re.search(f"(?i){SECRET_WORDS}", str(key)))


def masked(text: str) -> str:
    """Return a text with its secrets masked, and the home directory replaced by ~."""
    for pattern, instead in SECRET_PATTERNS:
        text = pattern.sub(instead, text)
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
