"""The page on which a person judges, served to this machine alone; every answer is appended to judge.jsonl at once."""

import io
import json
import secrets
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ...core.errors import FastdiffError
from ...core.files import parse_json
from ..rows import append_row
from .votes import ANSWERS, HEADINGS, NOTE, Question, answers, cells, given, pairings, questions, results

CHOICES = ("left", "right", "none", "undo")
BODY = 256  # bytes of a post at most
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
    """Ask `pairs` questions of `judge.pairings(run_dir, a, b)`, until Ctrl-C; browser: open the page in one."""
    sitting = Sitting(run_dir, questions(run_dir, pairings(run_dir, a, b), rater, pairs), rater)
    with Server(sitting, port) as server, suppress(KeyboardInterrupt):
        print(server.url, KEYS, sep="\n", file=sys.stderr, flush=True)
        if browser:
            webbrowser.open(server.url)
        server.serve_forever()


class Sitting:
    """One rater's way through the questions; an answer is on disk before the next question is asked."""

    def __init__(self, run_dir: str | Path, questions: list[Question], rater: str) -> None:
        self.run_dir, self.questions, self.rater = Path(run_dir), questions, rater
        self.lock = threading.Lock()
        times = {record["key"]: record["time"] for record in given(self.run_dir)}
        self.given = sorted((q for q in questions if q.key in times), key=lambda q: times[q.key])
        self._ask(None)

    def state(self) -> dict:
        """What the page may know: nothing of the cells before the last answer."""
        with self.lock:
            progress = {"number": len(self.given) + 1, "total": len(self.questions)}
            if self.asked:
                return {"token": self.token, "undo": bool(self.given), **progress}
        return {
            "headings": HEADINGS,
            "lines": list(map(cells, results(answers(self.run_dir)))),
            "note": NOTE,
            **progress,
        }

    def image(self, token: str, side: str) -> bytes | None:
        """PNG of the left or right image of the question that is asked under this token."""
        with self.lock:
            if token != self.token or not self.asked:
                return None
            self.since = time.monotonic()
            file = io.BytesIO()
            self.asked.tiles[side == "right"].save(file, format="PNG")
            return file.getvalue()

    def answer(self, token: str, choice: str) -> bool:
        """Take one of CHOICES for the question under this token; False, and nothing done, where another is asked.

        To undo is to record the last answer once more with choice None; once the names are shown it is too
        late.
        """
        with self.lock:
            if token != self.token or not self.asked:
                return False
            if choice != "undo":
                self._record(self.asked, dict(zip(CHOICES, (*self.asked.sides, "none")))[choice])
                self.given.append(self.asked)
                self._ask(None)
            elif self.given:
                self._record(self.given[-1], None)
                self._ask(self.given.pop())
            return True

    def _ask(self, question):
        """Ask this question, or the first without an answer."""
        self.asked = question or next((q for q in self.questions if q not in self.given), None)
        self.token, self.since = secrets.token_urlsafe(16), time.monotonic()

    def _record(self, question, choice):
        what = {name: getattr(question, name) for name in ("key", "a", "b", "noise", "images")}
        append_row(
            self.run_dir / ANSWERS,
            {
                **what,
                "left": question.sides[0],
                "choice": choice,
                "seconds": round(time.monotonic() - self.since, 2),
                "rater": self.rater,
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            },
        )


def page(state: dict, side: int, nonce: str) -> str:
    """The page that asks, for images of `side` pixels."""
    from jinja2 import Environment

    text = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text).render(state=state, side=side, nonce=nonce)


class Server(ThreadingHTTPServer):
    """The page of one sitting, on the loopback interface; `url` holds a secret without which nothing is answered."""

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

    def handle_error(self, request, client_address) -> None:
        """A browser that hangs up is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """Status and reason."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds after which a silent client is given up
    server_version, sys_version = "fastdiff", ""

    def do_GET(self):
        self._respond(self._get)

    def do_POST(self):
        self._respond(self._post)

    def log_message(self, *_):
        """The terminal belongs to the URL and the results."""

    def _respond(self, handle):
        nonce = secrets.token_urlsafe(16)
        try:
            status, kind, body = handle(self._inside(), nonce)
        except _Refused as refusal:
            status, kind, body = refusal.args[0], "text/plain", refusal.args[1]
        except (OSError, FastdiffError) as error:  # a full disk: the question stays
            print(f"fastdiff: {error}", file=sys.stderr)
            status, kind, body = 500, "text/plain", "not saved, the terminal says why"
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        own = f"'nonce-{nonce}'"
        for name, value in {
            "Content-Type": kind if kind == "image/png" else f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": f"default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _inside(self):
        """The path below the secret; another host's name (DNS rebinding), origin or secret is refused."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise _Refused(403, "another host")
        if not {*self.headers.get_all("Origin", [])} <= {f"http://{host}" for host in self.server.hosts}:
            raise _Refused(403, "another origin")
        session, *inside = self.path.removeprefix("/").split("/")
        if not secrets.compare_digest(session.encode(), self.server.session.encode()):
            raise _Refused(403, "another session: open the address that was printed last")
        return inside

    def _get(self, inside, nonce):
        sitting = self.server.sitting
        match inside:
            case [""]:
                return 200, "text/html", page(sitting.state(), sitting.questions[0].tiles[0].width, nonce)
            case [token, "left.png" | "right.png" as name] if data := sitting.image(
                token, name.removesuffix(".png")
            ):
                return 200, "image/png", data
        raise _Refused(404, "no such page")

    def _post(self, inside, _):
        if inside != ["answer"]:
            raise _Refused(404, "no such page")
        length = self.headers.get("Content-Length", "")
        # another page's form cannot send this type unasked
        if not length.isdecimal() or self.headers.get_content_type() != "application/json":
            raise _Refused(400, "expected JSON and its length")
        if len(length) > len(str(BODY)) or int(length) > BODY:
            raise _Refused(413, f"expected at most {BODY} bytes")
        try:
            post = parse_json(self.rfile.read(int(length)))
            token, choice = post["token"], post["choice"]
        except (ValueError, TypeError, KeyError):
            token, choice = None, None
        if not isinstance(token, str) or choice not in CHOICES:
            raise _Refused(400, f'expected {{"token": ..., "choice": one of {", ".join(CHOICES)}}}')
        taken = self.server.sitting.answer(token, choice)
        return 200 if taken else 409, "application/json", json.dumps(self.server.sitting.state())
