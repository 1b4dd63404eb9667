"""The judge's server: what it answers, keeps and refuses."""

import io
import json
import socket

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.judge.server import MAX_BODY_BYTES
from fastdiff.evaluation.judge.votes import answers
from tests.helpers.judging import CELLS, HEADERS, ONE, TWO, ask, kept, post, served, sitting, state


def test_every_answer_is_on_disk_before_the_next_question(run_dir):
    with served(sitting(run_dir)) as server:
        asked = list(server.sitting.questions)
        for number, choice in enumerate(("left", "right", "none", "left", "right", "none")):
            assert state(server) == {
                "token": server.sitting.token,
                "undo": number > 0,
                "number": number + 1,
                "total": 6,
            }
            for place, side in enumerate(("left", "right")):
                status, headers, data = ask(server, path=f"{server.sitting.token}/{side}.png")
                assert (status, headers["Content-Type"]) == (200, "image/png")
                assert (
                    np.asarray(Image.open(io.BytesIO(data))) == np.asarray(asked[number].tiles[place])
                ).all()
            token = server.sitting.token
            assert post(server, choice)[0] == 200
            row, q = kept(run_dir)[-1], asked[number]
            assert len(kept(run_dir)) == number + 1
            assert {name: row[name] for name in ("key", "a", "b", "noise", "left", "choice", "rater")} == {
                "key": q.key,
                "a": q.a,
                "b": q.b,
                "noise": q.noise,
                "left": q.sides[0],
                "rater": "ann",
                "choice": {"left": q.sides[0], "right": q.sides[1], "none": "none"}[choice],
            }
            assert 0 <= row["seconds"] < 60 and row["time"].endswith("+00:00")
            assert post(server, "left", token)[0] == 409 and len(kept(run_dir)) == number + 1  # asked no more
            assert ask(server, path=f"{token}/left.png")[0] == 404
        end = state(server)
        assert end["headings"][:2] == ["A", "B"] and {line[0] for line in end["lines"]} == {
            q.a for q in asked
        }
        assert post(server, "undo", token) == (409, end) and len(kept(run_dir)) == 6  # names are shown


def test_a_restart_goes_on_where_the_rater_was(run_dir):
    first = sitting(run_dir)
    for _ in range(4):
        first.answer(first.token, "left")
    with open(run_dir / "judge.jsonl", "ab") as file:
        file.write(b'{"key": "cut off by a ki')
    again = sitting(run_dir)
    assert again.state()["number"] == 5 and again.current.key == first.current.key
    assert again.answer(again.token, "none") and len(kept(run_dir)) == 5
    assert sitting(run_dir, n=8).state()["number"] == 6
    assert sitting(run_dir, rater="ben").state()["number"] == 1


def test_undo_asks_again_and_rewrites_nothing(run_dir):
    asked = sitting(run_dir)
    assert asked.answer(asked.token, "undo") and not (run_dir / "judge.jsonl").exists()
    order = list(asked.questions)
    for _ in range(3):
        asked.answer(asked.token, "left")
    before = (run_dir / "judge.jsonl").read_bytes()
    assert asked.answer(asked.token, "undo") and asked.current is order[2]
    assert (run_dir / "judge.jsonl").read_bytes().startswith(before)
    assert [(row["key"], row["choice"]) for row in kept(run_dir)[3:]] == [(order[2].key, None)]
    asked = sitting(run_dir)  # after a restart as well
    assert asked.answer(asked.token, "undo") and asked.current.key == order[1].key
    assert [a["key"] for a in answers(run_dir)] == [order[0].key]
    assert asked.answer(asked.token, "right") and asked.current.key == order[2].key
    assert {a["key"]: a["choice"] for a in answers(run_dir)} == {
        q.key: q.sides[i] for i, q in enumerate(order[:2])
    }


def test_nothing_served_before_the_end_names_a_model(run_dir):
    words = [word.encode() for cell in CELLS for word in (cell, *cell.split("-")) if len(word) > 3]
    words = {*words, b"real.png", str(run_dir).encode(), run_dir.name.encode()}
    seen = b""
    with served(sitting(run_dir, n=3)) as server:
        while server.sitting.current:
            paths = ["", *(f"{server.sitting.token}/{side}.png" for side in ("left", "right"))]
            for path in paths:
                _, headers, body = ask(server, path=path)
                seen += repr(headers).encode() + body
                assert not body.startswith(b"\x89PNG") or body.count(b"IDAT") == 1 and b"tEXt" not in body
            seen += server.url.encode()
            last = json.dumps(post(server, "left")[1]).encode()
        assert {word for word in words if word in seen} == set()
        assert ONE.encode() in last or TWO.encode() in last
        assert len(seen) > 10_000


def test_only_this_machine_is_listened_to(run_dir):
    with served(sitting(run_dir)) as server:
        assert server.socket.getsockname() == ("127.0.0.1", server.server_port)
        for host in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
            if host != "127.0.0.1":
                with pytest.raises(OSError):
                    socket.create_connection((host, server.server_port), timeout=1).close()


def test_strangers_are_sent_away(run_dir):
    with served(sitting(run_dir)) as server:
        port, body = server.server_port, json.dumps({"token": server.sitting.token, "choice": "left"})
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
            assert ask(server, Host=host)[0] == 403
            assert ask(server, "POST", "answer", body, Host=host, **HEADERS)[0] == 403
        for origin in ("https://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1"):
            assert ask(server, "POST", "answer", body, Origin=origin, **HEADERS)[0] == 403
        for path in ("/", "/x/", f"/{server.session[:-1]}/", "//"):
            assert ask(server, path=path)[0] == 403
        assert ask(server, "POST", "/answer", body, **HEADERS)[0] == 403
        for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
            assert ask(server, method)[0] == 501
        host = f"Host: 127.0.0.1:{port}\r\n"
        for request in (
            f"GET /{server.session}/ HTTP/1.0\r\n",  # no Host at all, or two
            f"GET /{server.session}/ HTTP/1.0\r\n{host}Host: evil.example\r\n",
            f"GET /é/ HTTP/1.0\r\n{host}",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
                raw.sendall(f"{request}\r\n".encode())
                assert raw.recv(100).split()[1] == b"403"
        assert not (run_dir / "judge.jsonl").exists()
        for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
            body = json.dumps({"token": server.sitting.token, "choice": "left"})
            assert (
                ask(server, "POST", "answer", body, Host=host, Origin=f"http://{host}", **HEADERS)[0] == 200
            )
        assert len(kept(run_dir)) == 2


def test_no_file_is_within_reach(run_dir):
    with served(sitting(run_dir)) as server:
        token = server.sitting.token
        for path in (
            "bench.jsonl",
            "samples/real.png",
            "../bench.jsonl",
            f"{token}/../../bench.jsonl",
            f"{token}/real.png",
            f"{token}/%2e%2e/bench.jsonl",
            "x/left.png",
            f"{token}/left.png/",
            "?",
            "answer",
        ):
            assert ask(server, path=path)[0] == 404
        assert ask(server, "POST", "", "{}", **HEADERS)[0] == 404


def test_malformed_posts_are_refused_and_the_server_goes_on(run_dir):
    with served(sitting(run_dir)) as server:
        token = server.sitting.token
        good = {"token": token, "choice": "left"}
        for body in (
            "",
            "{",
            "[]",
            "7",
            "null",
            '"left"',
            "{}",
            "\x00",
            "[" * 200,
            b"\xff\xfe\xfa",
            '{"token": NaN}',
            *(
                json.dumps(good | change)
                for change in (
                    {"choice": "up"},
                    {"choice": None},
                    {"choice": ["left"]},
                    {"choice": 1},
                    {"token": 7},
                    {"token": None},
                )
            ),
        ):
            assert ask(server, "POST", "answer", body, **HEADERS)[0] == 400, body
        assert (
            ask(server, "POST", "answer", json.dumps(good), Content_Type="text/plain")[0] == 400
        )  # a form's type
        assert (
            ask(server, "POST", "answer", json.dumps(good | {"more": "x" * MAX_BODY_BYTES}), **HEADERS)[0]
            == 413
        )
        for length, status in (
            ("-1", 400),
            ("x", 400),
            ("1e1", 400),
            ("9" * 5000, 413),
            (str(MAX_BODY_BYTES + 1), 413),
        ):
            assert ask(server, "POST", "answer", "", Content_Length=length, **HEADERS)[0] == status
        assert post(server, "left", "another")[0] == 409
        assert not (run_dir / "judge.jsonl").exists()
        assert post(server, "left", token)[0] == 200


def test_an_answer_that_cannot_be_written_is_asked_again(run_dir, capsys):
    with served(sitting(run_dir)) as server:
        question = server.sitting.current
        (run_dir / "judge.jsonl").mkdir()
        body = json.dumps({"token": server.sitting.token, "choice": "left"})
        assert ask(server, "POST", "answer", body, **HEADERS)[::2] == (
            500,
            b"not saved; see the terminal for the reason",
        )
        assert "Is a directory" in capsys.readouterr().err
        (run_dir / "judge.jsonl").rmdir()
        assert server.sitting.current is question and post(server, "left")[0] == 200


def test_the_page_may_load_nothing_else(run_dir):
    with served(sitting(run_dir)) as server:
        (_, one, page), (_, two, _) = ask(server), ask(server)
        policy = one["Content-Security-Policy"]
        nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
        assert (
            "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )
        assert policy != two["Content-Security-Policy"]
        text = page.decode()
        assert text.count("<script") == text.count(f'<script nonce="{nonce}"') and "http" not in text.replace(
            "http-", ""
        )
        assert one["Cache-Control"] == "no-store" and "Python" not in one["Server"]
