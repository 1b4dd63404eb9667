"""Files of public weights: in torch's cache, under their own names, fetched when they are missing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

from ..core.errors import FastdiffError


def cached(url: str, file: str, what: str, setting: str) -> Path:
    """A file in torch's cache. what, setting: whose weights they are and which setting names a copy, for the complaint."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with socket_timeout(10):
                torch.hub.download_url_to_file(url, path, progress=False)
        except (OSError, HTTPException):  # no network, a timeout, a full disk, a proxy's odd answer
            raise FastdiffError(
                f"the weights of {what} cannot be fetched: put {file} into $TORCH_HOME/hub/checkpoints "
                f"({path.parent}) or say {setting}"
            ) from None
    return path


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """New sockets give up after so long."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
