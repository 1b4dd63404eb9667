"""Files of public weights: kept in torch's cache under their own names, downloaded if missing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

from ..core.errors import FastdiffError


class MissingWeights(FastdiffError):
    """An error for a network whose weights are not on this machine and cannot be downloaded."""


def cached(url: str, file: str, owner: str, setting: str) -> Path:
    """Return the path of a file in torch's cache; download it if it is missing.

    Args:
        url: URL of the file.
        file: name of the file in the cache.
        owner: name of the network, for the error message.
        setting: setting that gives the path of a copy, for the error message.

    Raises:
        MissingWeights: if the file cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with socket_timeout(10):
                torch.hub.download_url_to_file(url, path, progress=False)
        except (OSError, HTTPException):  # no network, a timeout, a full disk, an invalid response of a proxy
            raise MissingWeights(
                f"the weights of {owner} cannot be downloaded: put {file} into $TORCH_HOME/hub/checkpoints "
                f"({path.parent}) or set {setting}"
            ) from None
    return path


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of sockets that are created in the context."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
