"""A run to be judged, and a judge's server that is asked."""

import http.client
import json
import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image

from fastdiff.evaluation.judge.questions import pairings, questions
from fastdiff.evaluation.judge.server import Server, Sitting

CELLS = {  # cell -> (model, method, sampler, steps, fid)
    "teacher-ddim-uniform-1": ("teacher", "denoising", "ddim", 1, 90.0),
    "teacher-ddim-uniform-8": ("teacher", "denoising", "ddim", 8, 7.0),
    "teacher-unipc-uniform-8": ("teacher", "denoising", "unipc", 8, 3.0),
    "distilled-consistency-uniform-1": ("distilled", "cd", "consistency", 1, 12.0),
    "distilled-consistency-uniform-4": ("distilled", "cd", "consistency", 4, 9.0),
    "halved-4-ddim-uniform-4": ("halved-4", "progressive", "ddim", 4, 8.0),
    "halved-2-ddim-uniform-2": ("halved-2", "progressive", "ddim", 2, 11.0),
}


ONE, TWO, BEST = "distilled-consistency-uniform-1", "halved-2-ddim-uniform-2", "teacher-unipc-uniform-8"


HEADERS = {"Content-Type": "application/json"}


def sheet(path, side=8, images=32, seed=0):
    """A sheet whose every image is noise of its own."""
    x = np.random.default_rng(seed).integers(1, 256, (images, side, side, 3), dtype=np.uint8)
    x = np.concatenate([x, np.zeros((-images % 16, side, side, 3), np.uint8)])
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(x.reshape(-1, 16, side, side, 3).swapaxes(1, 2).reshape(-1, 16 * side, 3)).save(path)
    return x[:images]


def sitting(run_dir, n=6, rater="ann", a=None, b=None):
    return Sitting(run_dir, questions(run_dir, pairings(run_dir, a, b), rater, n), rater)


@contextmanager
def served(sitting):
    with Server(sitting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, method="GET", path="", body=None, **headers):
    """Status, headers and body that `path` below the secret, or an absolute one, is answered with."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    path = path if path.startswith("/") else f"/{server.session}/{path}"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def state(server):
    page = ask(server)[2].decode()
    return json.loads(page.partition('id="state">')[2].partition("</script>")[0])


def post(server, choice, token=None):
    body = json.dumps({"token": token or server.sitting.token, "choice": choice})
    status, _, text = ask(server, "POST", "answer", body, **HEADERS)
    return status, json.loads(text)


def kept(run_dir):
    return [json.loads(line) for line in (run_dir / "judge.jsonl").read_text().splitlines()]
