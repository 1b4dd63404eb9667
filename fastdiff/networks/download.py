"""Files of public weights: in torch's cache under their own names, downloaded if they are missing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

from ..core.errors import FastdiffError


def cached(url: str, file: str, owner: str, setting: str) -> Path:
    """Return the path of a file in torch's cache; download it if it is missing.

    Args:
        url: address of the file.
        file: its name in the cache.
        owner: the network whose weights they are, for the error.
        setting: the setting that names a copy of them, for the error.

    Raises:
        FastdiffError: if it cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with socket_timeout(10):
                torch.hub.download_url_to_file(url, path, progress=False)
        except (OSError, HTTPException):  # no network, a timeout, a full disk, a proxy's odd answer
            raise FastdiffError(
                f"the weights of {owner} cannot be fetched: put {file} into $TORCH_HOME/hub/checkpoints "
                f"({path.parent}) or say {setting}"
            ) from None
    return path


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of sockets that are created inside."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
