"""Models on the Hugging Face hub: ids, the commits that they mean, and the files at a commit."""

import re
from pathlib import Path

from ..core.errors import FastdiffError, first_line
from ..networks.pretrained import PICKLED, WARNING

ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w-][\w./-]*)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Of a repository, and nothing else is fetched: what a pipeline's parts are made of. At its root may lie
# copies of them all.
FILES = [
    "*.json",
    "*/*.safetensors",
    "diffusion_pytorch_model*.safetensors",
    "model.safetensors",
    "*/merges.txt",
    "*/spiece.model",
]
SKIPPED = ["*.fp16.*", "*.bf16.*", "*.non_ema.*", "*.onnx*", "safety_checker/*", "image_encoder/*"]
SECONDS = 10  # within which the hub is to answer


def is_id(reference: str) -> bool:
    """Whether it is written like user/model or user/model@revision, and is no path below a folder that there is."""
    return bool(ID.fullmatch(reference)) and not Path(reference).parent.is_dir()


def pinned(reference: str) -> str:
    """The id at the commit that it means now, user/model@<40 hex digits>."""
    return f"{reference.partition('@')[0]}@{commit(reference)}"


def commit(reference: str, kind: str = "model") -> str:
    """The 40 hex digits that an id means now; where the hub does not answer, those of the copy in the cache."""
    from huggingface_hub import HfApi, constants, snapshot_download

    name, _, revision = reference.partition("@")
    if COMMIT.fullmatch(revision):
        return revision
    said = "HF_HUB_OFFLINE is set, and there is no copy in the cache"
    if not constants.HF_HUB_OFFLINE:
        try:
            return HfApi().repo_info(name, repo_type=kind, revision=revision or None, timeout=SECONDS).sha
        except Exception as error:  # of the network's many kinds, or the hub's own
            said = said_of(error)
    try:
        return Path(
            snapshot_download(name, repo_type=kind, revision=revision or None, local_files_only=True)
        ).name
    except (OSError, ValueError):
        raise FastdiffError(f"{reference}: no such folder, and not to be had from the hub: {said}") from None


def folder(reference: str) -> Path:
    """A folder, or that of a hub id, fetched."""
    path = Path(reference).expanduser()
    if path.is_dir():
        return path
    if not is_id(reference):
        raise FastdiffError(
            f"{reference}: no such folder; a model is a run's stage, a diffusers folder or a hub id"
        )
    return fetch(reference)


def fetch(reference: str) -> Path:
    """The folder of a model's JSON and safetensors, in the hub's cache; its name is the commit."""
    from huggingface_hub import snapshot_download

    name, at = reference.partition("@")[0], commit(reference)
    try:
        folder = Path(
            snapshot_download(
                name, revision=at, allow_patterns=FILES, ignore_patterns=SKIPPED, etag_timeout=SECONDS
            )
        )
    except Exception as error:
        raise FastdiffError(f"{name}@{at}: not to be had from the hub: {said_of(error)}") from None
    if not any(folder.rglob("*.safetensors")) and (
        pickled := [file for file in listed(name, at) if file.endswith(PICKLED)]
    ):
        where = f"'{name}', revision='{at}', use_safetensors=False"
        raise FastdiffError(
            f'{name}@{at}: {pickled[0]} {WARNING} python -c "from diffusers import DiffusionPipeline as P; '
            f"P.from_pretrained({where}).save_pretrained('model')\""
        )
    return folder


def said_of(error: Exception) -> str:
    """Why the hub gives nothing, and what to do, in one line."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on its page, and log in by hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "it has none of that name; if it is private, log in by hf auth login"
    return "it has no such revision" if isinstance(error, errors.RevisionNotFoundError) else first_line(error)


def listed(name: str, at: str) -> list[str]:
    """All files of a repository, fetched or not; none where the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(name, revision=at)
    except Exception:  # it is asked only to say something better
        return []
