"""A hub that answers, on this machine: what it refuses is one line, and of what it has,
only a model's parts are fetched."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from fastdiff.core.errors import FastdiffError
from fastdiff.io import hub
from fastdiff.io.load import load

COMMIT = "c" * 40
FILES = dict.fromkeys(
    (
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/model.fp16.safetensors",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
        "v1-5-pruned.safetensors",
        "unet/model.bin",
        "run.py",
    ),
    b"{}",
)


class Hub(BaseHTTPRequestHandler):
    """user/model may be had, user/gated may not, and there are no others."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in ("user/model", "user/gated"):
            self.answer(404, error="RepoNotFound")
        elif parts[0] == "api" and "tree" in parts:
            tree = [
                {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
                for path, data in FILES.items()
            ]
            self.answer(200, json.dumps(tree).encode()) if name == "user/model" else self.answer(
                403, error="GatedRepo"
            )
        elif parts[0] == "api":
            known = "revision" not in parts or parts[-1] in ("main", COMMIT)
            files = [{"rfilename": path} for path in FILES]
            info = json.dumps({"id": name, "sha": COMMIT, "siblings": files, "private": False}).encode()
            self.answer(200, info) if known else self.answer(404, error="RevisionNotFound")
        elif name == "user/gated":
            self.answer(403, error="GatedRepo")
        else:
            self.answer(200, FILES["/".join(parts[4:])])

    def answer(self, status, data=b"", error=None):
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        for key, value in (("Content-Length", len(data)), ("ETag", '"e"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def served(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_port}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", at)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", at + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield at
    server.shutdown()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "user/gated",
            f"user/gated@{COMMIT}: could not be downloaded from the Hub: it is gated: accept its terms",
        ),
        (
            "user/nosuch",
            "user/nosuch: no such folder, and it could not be found on the Hub: there is no repository of",
        ),
        (
            "user/model@nosuch",
            "user/model@nosuch: no such folder, and it could not be found on the Hub: the repository has no",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_line(served, name, said):
    with pytest.raises(FastdiffError) as caught:
        load(name)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_of_a_repository_only_a_models_parts_are_fetched(served):
    folder = hub.fetch("user/model")
    assert folder.name == COMMIT
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
    }


def test_a_hub_that_is_gone_is_one_line(served, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        FastdiffError, match="user/other: no such folder, and it could not be found on the Hub: "
    ) as caught:
        load("user/other")
    assert "\n" not in str(caught.value)
