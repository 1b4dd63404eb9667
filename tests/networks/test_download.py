"""Files of public weights: fetched once into torch's cache, and one line where they cannot be."""

import socket

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.networks.download import cached, socket_timeout


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def test_a_file_is_fetched_once_under_its_name(cache, tmp_path):
    source = tmp_path / "public.bin"
    source.write_bytes(b"weights")
    url = source.as_uri()
    found = cached(url, "own-name.pth", "a network", "weights: PATH")
    assert found == cache / "own-name.pth" and found.read_bytes() == b"weights"
    source.unlink()
    assert cached(url, "own-name.pth", "a network", "weights: PATH").read_bytes() == b"weights"


def test_what_cannot_be_fetched_is_one_line_with_the_place_and_the_setting(cache, tmp_path):
    with pytest.raises(FastdiffError) as caught:
        cached((tmp_path / "none.bin").as_uri(), "a.pth", "a network", "`weights: PATH`")
    assert str(caught.value) == (
        "the weights of a network cannot be downloaded: put a.pth into $TORCH_HOME/hub/checkpoints "
        f"({cache}) or set `weights: PATH`"
    )
    assert list(cache.iterdir()) == []


def test_the_timeout_of_sockets_is_set_back_after_an_error():
    before = socket.getdefaulttimeout()
    with pytest.raises(ZeroDivisionError), socket_timeout(7.0):
        assert socket.socket().gettimeout() == 7.0
        raise ZeroDivisionError
    assert socket.getdefaulttimeout() == before
