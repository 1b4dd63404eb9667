"""What a crash leaves behind: a report that can be pasted into an issue, with no secrets in it."""

import json
import os
import platform
import re
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from ..evaluation.provenance import commit

PACKAGES = ("fastdiff", "torch", "accelerate", "diffusers", "datasets")
LINES, LONGEST = 20, 20_000  # of a log and of a status; letters of a section, for an issue holds 65,536
HIDDEN = "[masked]"
SECRET = r"token|key|secret|passw|pwd|auth|credential|signature|\bsig\b|wandb"
# Who is at a URL; a setting by its name; tokens by their look: of hubs, of clouds, and what is long and of
# all kinds.
MASKS = [
    (re.compile(r"://[^/\s@'\"]+@"), f"://{HIDDEN}@"),
    (re.compile(r"(://[^\s'\"?]+\?)[^\s'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"-----BEGIN [\w ]+-----.*?-----END [\w ]+-----", re.S), HIDDEN),
    (re.compile(r"(?i)\b(bearer|authorization:\s*basic)\s+[\w+/=.~-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            rf"(?i)((?<![\w-])[\w-]*(?:{SECRET})(?!\w*error)[\w-]*[\"']?\s*[:=]\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;)\]}}]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(?:hf|sk|pk|rk|gh[a-z]|github_pat|glpat|xox[a-z]|api)[-_][\w-]{8,}"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA|AIza)[\w-]{12,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+)*"), HIDDEN),
    (
        re.compile(
            r"(?<![\w./~+-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d[\w+/-]*\d)\w[\w+/-]{31,}={0,2}"
        ),
        HIDDEN,
    ),
]


def report(folder: str | Path, source: dict[str, Any], error: BaseException) -> Path | None:
    """Write `folder`/crash-<UTC time>.txt of a recipe's data and what was raised; never raises, None where it could not."""
    with suppress(Exception):
        now, rank = datetime.now(UTC), os.environ.get("RANK", "0")
        parts = sections(Path(folder), source, error)
        text = "\n\n".join(f"## {title}\n\n{masked(body)[-LONGEST:]}" for title, body in parts)
        path = Path(folder) / f"crash-{now:%Y%m%dT%H%M%SZ}{'' if rank == '0' else f'-process-{rank}'}.txt"
        path.write_text(f"fastdiff crashed at {now:%Y-%m-%d %H:%M:%S} UTC\n\n{text}\n")
        return path
    return None


def sections(folder: Path, source: dict[str, Any], error: BaseException) -> list[tuple[str, str]]:
    """What the report tells, by title; of a part that fails itself, how."""
    parts = {
        "What happened": lambda: "".join(traceback.format_exception(error)).strip(),
        "Versions": lambda: "\n".join(f"{name}: {said}" for name, said in versions().items()),
        "Recipe": lambda: yaml.safe_dump(without_secrets(source), sort_keys=False).strip(),
        "Last lines of the log": lambda: last_lines(newest(folder, "*/log.jsonl")),
        "Last status": lambda: last_lines(newest(folder, "status.json")),
    }
    return [(title, told(part)) for title, part in parts.items()]


def told(part: Any) -> str:
    """What a part says, or how it failed."""
    try:
        return part()
    except Exception as error:
        return f"not to be had ({type(error).__name__})"


def versions() -> dict[str, str | None]:
    """What ran: packages, commit, system, and the GPUs where torch is loaded."""
    found = {"commit": commit(), "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        found["gpus"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return found


def newest(folder: Path, pattern: str) -> Path | None:
    """The file below a folder that was last changed."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def last_lines(path: Path | None) -> str:
    """The end of a file, with its place in the run before it."""
    if path is None:
        return "none"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join([f"{'/'.join(path.parts[-2:])}:", *lines[-LINES:]])


def without_secrets(value: Any) -> Any:
    """A recipe's data with what is called a secret masked, lists and all."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if re.search(f"(?i){SECRET}", str(key)) else without_secrets(v)
            for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(v) for v in value]
    return value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)


def masked(text: str) -> str:
    """Text without secrets, and with the home directory written as ~."""
    for pattern, instead in MASKS:
        text = pattern.sub(instead, text)
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
