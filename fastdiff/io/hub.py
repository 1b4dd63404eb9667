"""The Hugging Face hub: ids of models, the commits that they refer to, and the files at a commit."""

import re
from pathlib import Path

from ..core.errors import FastdiffError, first_line
from ..core.files import expanded
from ..networks.pretrained import PICKLED, WARNING

ID_PATTERN = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w-][\w./-]*)?")
COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")
# The files of a pipeline's components. Nothing else is downloaded; repositories may have copies at the root.
FETCHED_FILES = [
    "*.json",
    "*/*.safetensors",
    "diffusion_pytorch_model*.safetensors",
    "model.safetensors",
    "*/merges.txt",
    "*/spiece.model",
]
SKIPPED_FILES = ["*.fp16.*", "*.bf16.*", "*.non_ema.*", "*.onnx*", "safety_checker/*", "image_encoder/*"]
TIMEOUT_SECONDS = 10  # for each request


def is_id(reference: str) -> bool:
    """Return whether a text has the form user/model or user/model@revision, and is not a local path."""
    return bool(ID_PATTERN.fullmatch(reference)) and not Path(reference).parent.is_dir()


def pinned(reference: str) -> str:
    """Return an id with the commit that it refers to now, user/model@<40 hex digits>."""
    return f"{reference.partition('@')[0]}@{commit(reference)}"


def commit(reference: str, kind: str = "model") -> str:
    """Return the commit that an id refers to now; if the hub does not answer, that of the copy in the cache.

    Args:
        reference: the id, user/name or user/name@revision.
        kind: kind of the repository, `model` or `dataset`.

    Returns:
        40 hex digits.

    Raises:
        FastdiffError: if the hub does not answer and there is no copy.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    name, _, revision = reference.partition("@")
    if COMMIT_PATTERN.fullmatch(revision):
        return revision
    reason = "HF_HUB_OFFLINE is set, and there is no copy in the cache"
    if not constants.HF_HUB_OFFLINE:
        try:
            return (
                HfApi()
                .repo_info(name, repo_type=kind, revision=revision or None, timeout=TIMEOUT_SECONDS)
                .sha
            )
        except Exception as error:  # any of the many errors of the network and of the hub
            reason = reason_of(error)
    try:
        return Path(
            snapshot_download(name, repo_type=kind, revision=revision or None, local_files_only=True)
        ).name
    except (OSError, ValueError):
        raise FastdiffError(
            f"{reference}: no such folder, and it could not be found on the Hub: {reason}"
        ) from None


def folder(reference: str) -> Path:
    """Return a model's local folder; a model on the hub is downloaded.

    Args:
        reference: a folder, or a hub id.

    Raises:
        FastdiffError: if there is no such folder, and no such model on the hub.
    """
    path = expanded(reference)
    if path.is_dir():
        return path
    if not is_id(reference):
        raise FastdiffError(
            f"{reference}: no such folder; expected a run's stage, a diffusers folder or a hub id"
        )
    return fetch(reference)


def fetch(reference: str) -> Path:
    """Download a model's JSON and safetensors files.

    Args:
        reference: the id, user/model or user/model@revision.

    Returns:
        The folder in the hub's cache; its name is the commit.

    Raises:
        FastdiffError: if the files cannot be downloaded, or the weights are only available as pickles.
    """
    from huggingface_hub import snapshot_download

    name = reference.partition("@")[0]
    at = commit(reference)
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=at,
                allow_patterns=FETCHED_FILES,
                ignore_patterns=SKIPPED_FILES,
                etag_timeout=TIMEOUT_SECONDS,
            )
        )
    except Exception as error:
        raise FastdiffError(
            f"{name}@{at}: could not be downloaded from the Hub: {reason_of(error)}"
        ) from None
    if any(folder.rglob("*.safetensors")):
        return folder
    names = file_names(name, at)
    if pickled := [file for file in names if file.endswith(PICKLED)]:
        where = f"'{name}', revision='{at}', use_safetensors=False"
        raise FastdiffError(
            f'{name}@{at}: {pickled[0]} {WARNING} python -c "from diffusers import DiffusionPipeline as P; '
            f"P.from_pretrained({where}).save_pretrained('model')\""
        )
    variants = [file.split(".")[-2].partition("-")[0] for file in names if file.endswith(".safetensors")]
    if variants:
        where = f"'{name}', revision='{at}', variant='{variants[0]}'"
        raise FastdiffError(
            f'{name}@{at}: has only the variant {variants[0]}: save it without, python -c "from diffusers '
            f"import DiffusionPipeline as P; P.from_pretrained({where}).save_pretrained('model')\""
        )
    return folder


def reason_of(error: Exception) -> str:
    """Return a one-line reason why a model cannot be downloaded from the hub, and the remedy."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on its page, and log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no repository of that name; if it is private, log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision"
    return first_line(error)


def file_names(name: str, at: str) -> list[str]:
    """Return the names of all files in a repository; [] if the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(name, revision=at)
    except Exception:  # the list only makes an error clearer
        return []
