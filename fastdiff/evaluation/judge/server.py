"""The server of the judge page, only for this machine; every answer is saved immediately."""

import io
import json
import secrets
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override

from ...core.errors import FastdiffError
from ...core.files import parse_json
from ...core.templates import render
from ..rows import append_row
from .questions import Question, pairings, questions
from .votes import ANSWERS, HEADINGS, NOTE, answers, cells, given, results

CHOICES = ("left", "right", "none", "undo")
MAX_BODY_BYTES = 256  # most bytes of a post
TEMPLATE = Path(__file__).with_name("page.html.j2")
Response = tuple[int, str, str | bytes]  # status, content type and body
HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
KEYS = "left, right: that image; down or space: no preference; backspace: undo the last; Ctrl-C here: end"


def serve(
    run_dir: str | Path,
    a: str | None = None,
    b: str | None = None,
    *,
    pairs: int = 64,
    port: int = 0,
    rater: str = "rater",
    browser: bool = False,
) -> None:
    """Serve a page on which a person judges pairs of samples, until Ctrl-C.

    Args:
        run_dir: folder of the run, with bench.jsonl and samples.
        a: cell to judge, MODEL:STEPS; None for each student at its fewest steps.
        b: cell to compare it with, MODEL:STEPS or `real`; None for the teacher's best cell and real data.
        pairs: number of questions.
        port: port of the server; 0 for a free one.
        rater: name of the person, under which answers are saved.
        browser: whether to open the page in a browser.

    Raises:
        FastdiffError: if there are no cells to compare, or if the port is not free.
    """
    sitting = Sitting(run_dir, questions(run_dir, pairings(run_dir, a, b), rater, pairs), rater)
    with Server(sitting, port) as server, suppress(KeyboardInterrupt):
        print(server.url, KEYS, sep="\n", file=sys.stderr, flush=True)
        if browser:
            webbrowser.open(server.url)
        server.serve_forever()


class Sitting:
    """A session of one rater; an answer is on disk before the next question is shown.

    Args:
        run_dir: folder of the run, in which answers are saved.
        questions: all questions, in the rater's order.
        rater: name of the person, under which answers are saved.
    """

    def __init__(self, run_dir: str | Path, questions: list[Question], rater: str) -> None:
        self.run_dir = Path(run_dir)
        self.questions = questions
        self.rater = rater
        self.lock = threading.Lock()
        times = {record["key"]: record["time"] for record in given(self.run_dir)}
        self.given = sorted((q for q in questions if q.key in times), key=lambda q: times[q.key])
        self._ask(None)

    def state(self) -> dict:
        """Return the state of the page, which names the cells only after the last answer."""
        with self.lock:
            progress = {"number": len(self.given) + 1, "total": len(self.questions)}
            if self.current:
                return {"token": self.token, "undo": bool(self.given), **progress}
        return {
            "headings": HEADINGS,
            "lines": list(map(cells, results(answers(self.run_dir)))),
            "note": NOTE,
            **progress,
        }

    def image(self, token: str, side: str) -> bytes | None:
        """Return an image of the current question as PNG; None if the token belongs to another question."""
        with self.lock:
            if token != self.token or not self.current:
                return None
            self.since = time.monotonic()
            file = io.BytesIO()
            left, right = self.current.tiles
            (right if side == "right" else left).save(file, format="PNG")
            return file.getvalue()

    def answer(self, token: str, choice: str) -> bool:
        """Record a choice for the current question.

        Undo records the last answer again with choice None, which is possible until the names are shown.

        Args:
            token: token of the question.
            choice: one of CHOICES.

        Returns:
            Whether it was recorded: False if the token belongs to another question.
        """
        with self.lock:
            if token != self.token or not self.current:
                return False
            if choice != "undo":
                left, right = self.current.sides
                self._record(self.current, {"left": left, "right": right, "none": "none"}[choice])
                self.given.append(self.current)
                self._ask(None)
            elif self.given:
                self._record(self.given[-1], None)
                self._ask(self.given.pop())
            return True

    def _ask(self, question: Question | None) -> None:
        """Make a question the current one; None for the first question without an answer."""
        self.current = question or next((q for q in self.questions if q not in self.given), None)
        self.token = secrets.token_urlsafe(16)
        self.since = time.monotonic()

    def _record(self, question: Question, choice: str | None) -> None:
        """Append an answer to judge.jsonl."""
        pair = {name: getattr(question, name) for name in ("key", "a", "b", "noise", "images")}
        append_row(
            self.run_dir / ANSWERS,
            {
                **pair,
                "left": question.sides[0],
                "choice": choice,
                "seconds": round(time.monotonic() - self.since, 2),
                "rater": self.rater,
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            },
        )


def page(state: dict, side: int, nonce: str) -> str:
    """Return the page as HTML.

    Args:
        state: state of a Sitting.
        side: side of an image in pixels.
        nonce: nonce of the page's script and style, for the content security policy.
    """
    return render(TEMPLATE, state=state, side=side, nonce=nonce)


def content_policy(nonce: str) -> str:
    """Return the content security policy of a page: only its own script, style and images."""
    own = f"'nonce-{nonce}'"
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Server(ThreadingHTTPServer):
    """The server of one sitting, on the loopback interface; every request needs the secret in `url`."""

    def __init__(self, sitting: Sitting, port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise FastdiffError(
                f"--port {port}: cannot be opened ({error}); choose another, or 0 for a free one"
            ) from None
        self.sitting, self.session = sitting, secrets.token_urlsafe(16)
        self.hosts = [f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")]
        self.url = f"http://{self.hosts[0]}/{self.session}/"

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, except for a browser that closes the connection."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _RefusedError(Exception):
    """A refusal of a request, with its status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """The handler of requests."""

    timeout = 10  # seconds after which a silent client is disconnected
    server_version = "fastdiff"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802, the name that http.server calls
        """Answer a request for a page or an image."""
        self._respond(self._get)

    def do_POST(self) -> None:  # noqa: N802
        """Answer a post of a choice."""
        self._respond(self._post)

    @override
    def log_message(self, *_: Any) -> None:
        """Print no log: the terminal shows only the address and errors."""

    def _respond(self, handle: Callable[[list[str], str], Response]) -> None:
        """Send the response of a function that gets the path below the secret and a nonce."""
        nonce = secrets.token_urlsafe(16)
        try:
            status, kind, body = handle(self._path_inside(), nonce)
        except _RefusedError as refusal:
            status, kind, body = refusal.status, "text/plain", str(refusal)
        except (OSError, FastdiffError) as error:  # a full disk: the question remains
            print(f"fastdiff: {error}", file=sys.stderr)
            status, kind, body = 500, "text/plain", "not saved; see the terminal for the reason"
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind if kind == "image/png" else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", content_policy(nonce))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _path_inside(self) -> list[str]:
        """Return the path below the secret; refuse another host's name (DNS rebinding), origin or secret."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise _RefusedError(403, "another host")
        if not {*self.headers.get_all("Origin", [])} <= {f"http://{host}" for host in self.server.hosts}:
            raise _RefusedError(403, "another origin")
        session, *inside = self.path.removeprefix("/").split("/")
        if not secrets.compare_digest(session.encode(), self.server.session.encode()):
            raise _RefusedError(403, "another session: open the address that was printed last")
        return inside

    def _get(self, inside: list[str], nonce: str) -> Response:
        """Return the page, or an image of the current question."""
        sitting = self.server.sitting
        match inside:
            case [""]:
                return 200, "text/html", page(sitting.state(), sitting.questions[0].tiles[0].width, nonce)
            case [token, "left.png" | "right.png" as name]:
                data = sitting.image(token, name.removesuffix(".png"))
                if data:
                    return 200, "image/png", data
        raise _RefusedError(404, "no such page")

    def _post(self, inside: list[str], _: str) -> Response:
        """Record a choice, and return the next state."""
        if inside != ["answer"]:
            raise _RefusedError(404, "no such page")
        length = self.headers.get("Content-Length", "")
        # a form of another page cannot send this type without permission
        if not length.isdecimal() or self.headers.get_content_type() != "application/json":
            raise _RefusedError(400, "expected JSON and its length")
        if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            raise _RefusedError(413, f"expected at most {MAX_BODY_BYTES} bytes")
        try:
            post = parse_json(self.rfile.read(int(length)))
            token = post["token"]
            choice = post["choice"]
        except (ValueError, TypeError, KeyError):
            token = choice = None
        if not isinstance(token, str) or choice not in CHOICES:
            raise _RefusedError(400, f'expected {{"token": ..., "choice": one of {", ".join(CHOICES)}}}')
        taken = self.server.sitting.answer(token, choice)
        return 200 if taken else 409, "application/json", json.dumps(self.server.sitting.state())
