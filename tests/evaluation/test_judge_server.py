"""People judge blindly: what they are asked, what the page tells them, who else may ask, and what is made of the answers."""

import http.client
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.judge import server as ballot
from fastdiff.evaluation.judge.server import BODY, Server, Sitting
from fastdiff.evaluation.judge.votes import (
    answers,
    markdown,
    pairings,
    questions,
    results,
    table,
    tiles,
    wilson,
)
from fastdiff.evaluation.rows import append_row

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


@pytest.fixture
def run_dir(tmp_path):
    for seed, (cell, (model, method, sampler, steps, fid)) in enumerate(CELLS.items()):
        append_row(
            tmp_path / "bench.jsonl",
            {
                "key": cell,
                "cell": cell,
                "model": model,
                "method": method,
                "sampler": sampler,
                "spacing": "uniform",
                "steps": steps,
                "nfe": steps,
                "guidance": 1.0,
                "seed": 0,
                "n": 32,
                "fid": fid,
                "ms_per_image": 1.0,
            },
        )
        sheet(tmp_path / "samples" / f"{cell}.png", seed=seed)
    sheet(tmp_path / "samples" / "real.png", seed=99)
    return tmp_path


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


# ---- what is compared -----------------------------------------------------------------------------------------------


def test_students_at_their_fewest_steps_meet_the_best_teacher_and_real_data(run_dir):
    assert pairings(run_dir) == [(ONE, BEST), (ONE, "real"), (TWO, BEST), (TWO, "real")]
    assert pairings(run_dir, b="teacher:1") == [
        (ONE, "teacher-ddim-uniform-1"),
        (TWO, "teacher-ddim-uniform-1"),
    ]
    assert pairings(run_dir, a="halved:4") == [
        ("halved-4-ddim-uniform-4", BEST),
        ("halved-4-ddim-uniform-4", "real"),
    ]
    assert pairings(run_dir, "distilled:4", "real") == [("distilled-consistency-uniform-4", "real")]
    assert pairings(run_dir, "distilled:1", "teacher:8") == [(ONE, BEST)]  # of two samplers the better
    (run_dir / "samples" / "real.png").unlink()
    assert pairings(run_dir) == [(ONE, BEST), (TWO, BEST)]


def test_both_images_of_a_question_come_from_the_same_noise(run_dir):
    x = {
        cell: sheet(run_dir / "samples" / f"{cell}.png", seed=i)
        for i, cell in enumerate([ONE, TWO, BEST, "real"])
    }
    asked = questions(run_dir, pairings(run_dir), "ann", 10**6)
    assert len({q.key for q in asked}) == len(asked) == 4 * 32
    for q in asked:
        shown = dict(zip(q.sides, q.tiles))
        assert (np.asarray(shown["a"]) == x[q.a][q.noise]).all() and (
            np.asarray(shown["b"]) == x[q.b][q.noise]
        ).all()


def test_order_and_sides_are_the_raters_own_and_always_the_same(run_dir):
    def look(rater, n=10**6):
        return [(q.key, q.a, q.b, q.noise, q.sides) for q in questions(run_dir, pairings(run_dir), rater, n)]

    ann, ben = look("ann"), look("ben")
    assert ann == look("ann") and [q[1:4] for q in ann] != [q[1:4] for q in ben]
    assert 40 < sum(q[4] == ("a", "b") for q in ann) < 88  # of 128: 4.2 deviations
    assert {q[1:4]: q[4] for q in ann} != {q[1:4]: q[4] for q in ben}
    first = look("ann", 8)
    assert sorted(q[3] for q in first) == [0] * 4 + [1] * 4 and set(first) <= set(ann)  # all pairs alike


def test_sheets_of_one_row_and_half_filled_ones_are_read(run_dir):
    path = run_dir / "samples" / "x.png"
    for images in (1, 16, 19, 64):
        x = sheet(path, images=images)
        assert (np.stack([np.asarray(tile) for tile in tiles(path)]) == x).all()
    Image.fromarray(sheet(path, images=16)[:, :, :, 0].swapaxes(0, 1).reshape(8, 128)).save(path)
    assert [tile.mode for tile in tiles(path)] == ["RGB"] * 16  # grey looks like colour


@pytest.mark.parametrize(
    "words, said",
    [
        (["--a", "distiled:1"], "--a distiled:1: no such model, did you mean distilled?"),
        (["--a", "distilled:2"], "--a distilled:2: not measured at that step count, choose from 1, 4"),
        (["--b", "distilled"], "--b distilled: expected MODEL:STEPS, as in teacher:8"),
        (["--b", "teacher:x"], "--b teacher:x: expected MODEL:STEPS"),
        (["--a", "teacher:8", "--b", "teacher:8"], "leaves nothing to compare"),
        (["--pairs", 0], "--pairs 0: expected at least 1"),
        (["--rater", " "], "--rater: expected a name"),
        (["--port", 70000], "--port 70000: cannot be opened"),
    ],
)
def test_wishes_that_cannot_be_met(run_dir, refused, words, said):
    assert said in refused("judge", run_dir, *words)
    assert not (run_dir / "judge.jsonl").exists()


def test_a_port_in_use_is_named(run_dir, refused):
    with served(sitting(run_dir)) as server:
        assert f"--port {server.server_port}: cannot be opened" in refused(
            "judge", run_dir, "--port", server.server_port
        )


def test_directories_that_cannot_be_judged(run_dir, tmp_path, refused):
    empty = tmp_path / "empty"
    assert f"no rows in {empty / 'bench.jsonl'}" in refused("judge", empty)
    assert f"{empty}: no such directory" in refused("judge", empty, "--results")
    samples = run_dir / "samples"
    sheet(samples / f"{ONE}.png", side=16)
    assert f"images of 16 pixels in {ONE}.png and of 8 in " in refused("judge", run_dir)
    Image.new("RGB", (240, 240), "white").save(samples / f"{ONE}.png")
    assert "is a scatter plot: only images can be judged" in refused("judge", run_dir)
    Image.new("RGB", (100, 8)).save(samples / f"{ONE}.png")
    assert "expected rows of 16 square images" in refused("judge", run_dir)
    Image.new("L", (128, 8)).save(samples / f"{ONE}.png")
    assert "all images are black" in refused("judge", run_dir)
    (samples / f"{ONE}.png").write_bytes(b"\x89PNG")
    assert "expected a PNG picture" in refused("judge", run_dir)
    (samples / f"{ONE}.png").unlink()
    assert f"no samples in {samples / ONE}.png" in refused("judge", run_dir)
    (samples / "real.png").unlink()
    assert f"no samples in {samples / 'real.png'}" in refused(
        "judge", run_dir, "--a", "halved:2", "--b", "real"
    )
    shutil.rmtree(samples)
    assert f"no samples in {samples / ONE}.png" in refused("judge", run_dir)


@pytest.mark.parametrize(
    "line, said", [('{"key": "k", "choice": "a"}', "answer k has no 'a'"), ("[]\n{}", "line 1")]
)
def test_a_damaged_answer_is_pointed_at(run_dir, refused, line, said):
    (run_dir / "judge.jsonl").write_text(line + "\n")
    for words in ([], ["--results"]):
        error = refused("judge", run_dir, *words)
        assert str(run_dir / "judge.jsonl") in error and said in error


# ---- the page -------------------------------------------------------------------------------------------------------


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
    assert again.state()["number"] == 5 and again.asked.key == first.asked.key
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
    assert asked.answer(asked.token, "undo") and asked.asked is order[2]
    assert (run_dir / "judge.jsonl").read_bytes().startswith(before)
    assert [(row["key"], row["choice"]) for row in kept(run_dir)[3:]] == [(order[2].key, None)]
    asked = sitting(run_dir)  # after a restart as well
    assert asked.answer(asked.token, "undo") and asked.asked.key == order[1].key
    assert [a["key"] for a in answers(run_dir)] == [order[0].key]
    assert asked.answer(asked.token, "right") and asked.asked.key == order[2].key
    assert {a["key"]: a["choice"] for a in answers(run_dir)} == {
        q.key: q.sides[i] for i, q in enumerate(order[:2])
    }


def test_nothing_served_before_the_end_names_a_model(run_dir):
    words = [word.encode() for cell in CELLS for word in (cell, *cell.split("-")) if len(word) > 3]
    words = {*words, b"real.png", str(run_dir).encode(), run_dir.name.encode()}
    seen = b""
    with served(sitting(run_dir, n=3)) as server:
        while server.sitting.asked:
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
        assert ask(server, "POST", "answer", json.dumps(good | {"more": "x" * BODY}), **HEADERS)[0] == 413
        for length, status in (
            ("-1", 400),
            ("x", 400),
            ("1e1", 400),
            ("9" * 5000, 413),
            (str(BODY + 1), 413),
        ):
            assert ask(server, "POST", "answer", "", Content_Length=length, **HEADERS)[0] == status
        assert post(server, "left", "another")[0] == 409
        assert not (run_dir / "judge.jsonl").exists()
        assert post(server, "left", token)[0] == 200


def test_an_answer_that_cannot_be_written_is_asked_again(run_dir, capsys):
    with served(sitting(run_dir)) as server:
        question = server.sitting.asked
        (run_dir / "judge.jsonl").mkdir()
        body = json.dumps({"token": server.sitting.token, "choice": "left"})
        assert ask(server, "POST", "answer", body, **HEADERS)[::2] == (
            500,
            b"not saved, the terminal says why",
        )
        assert "Is a directory" in capsys.readouterr().err
        (run_dir / "judge.jsonl").rmdir()
        assert server.sitting.asked is question and post(server, "left")[0] == 200


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


# ---- what came of it ------------------------------------------------------------------------------------------------


def test_wilson_interval_agrees_with_published_values_and_scipy():
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((1 - 0.2775328, 1), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    stats = pytest.importorskip("scipy.stats")
    for wins, n in ((0, 1), (1, 1), (3, 7), (50, 100), (999, 1000), (1, 10**6)):
        expected = stats.binomtest(wins, n).proportion_ci(method="wilson")
        low, high = wilson(wins, n)
        assert (low, high) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        ) and 0 <= low <= wins / n <= high <= 1


def given(a, b, choices):
    return [{"a": a, "b": b, "choice": {"+": "a", "-": "b", "=": "none"}[sign]} for sign in choices]


def test_ties_are_counted_beside_the_rate():
    found = results(
        [*given("y", "real", "=="), *given("x", "real", "++++++++--==="), *given("y", "real", "=")]
    )
    low, high = wilson(8, 10)
    assert found == [
        {
            "a": "x",
            "b": "real",
            "wins": 8,
            "losses": 2,
            "ties": 3,
            "n": 13,
            "rate": 0.8,
            "low": low,
            "high": high,
        },
        {
            "a": "y",
            "b": "real",
            "wins": 0,
            "losses": 0,
            "ties": 3,
            "n": 3,
            "rate": None,
            "low": 0.0,
            "high": 1.0,
        },
    ]
    text = markdown(found)
    assert "| x | real | 80% (49 to 94) | 8 | 2 | 3 |\n| y | real | – | 0 | 0 | 3 |\n" in text
    assert results([]) == [] and table([]).caption == "no answers yet"


def test_raters_are_summed_and_a_model_trained_again_is_judged_again(run_dir):
    for rater in ("ann", "ben"):
        asked = sitting(run_dir, n=4, rater=rater, a="distilled:1", b="real")
        while asked.asked:
            asked.answer(asked.token, "left" if asked.asked.sides[0] == "a" else "right")
    [result] = results(answers(run_dir))
    assert (result["a"], result["b"], result["wins"], result["n"], result["rate"]) == (ONE, "real", 8, 8, 1.0)
    sheet(run_dir / "samples" / f"{ONE}.png", seed=1000)
    assert answers(run_dir) == [] and sitting(run_dir, n=4, a="distilled:1", b="real").state()["number"] == 1
    (run_dir / "samples" / "real.png").unlink()
    assert answers(run_dir) == []


def test_results_are_printed_without_serving(run_dir, fastdiff):
    assert fastdiff("judge", run_dir, "--results", "--json") == (0, "[]\n", "")
    assert "no answers yet" in fastdiff("judge", run_dir, "--results")[1]
    asked = sitting(run_dir, n=1, a="halved:2", b="real")
    asked.answer(asked.token, asked.asked.sides[0] == "a" and "left" or "right")
    code, out, _ = fastdiff("judge", run_dir, "--results", "--json")
    assert code == 0 and json.loads(out) == results(answers(run_dir)) and json.loads(out)[0]["wins"] == 1
    lines = fastdiff("judge", run_dir, "--results")[1].splitlines()
    assert any(TWO in line and "100% (21 to 100)" in line for line in lines) and max(map(len, lines)) <= 80


def test_the_command_serves_until_interrupted_and_ends_with_the_results(run_dir):
    command = subprocess.Popen(
        [sys.executable, "-m", "fastdiff", "judge", str(run_dir), "--pairs", "2"],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # background jobs ignore it
    try:
        url, keys = command.stderr.readline().strip(), command.stderr.readline()
        assert url.startswith("http://127.0.0.1:") and "backspace" in keys
        with urllib.request.urlopen(url, timeout=10) as response:
            token = json.loads(response.read().decode().partition('id="state">')[2].partition("<")[0])[
                "token"
            ]
        body = json.dumps({"token": token, "choice": "none"}).encode()
        urllib.request.urlopen(urllib.request.Request(url + "answer", body, HEADERS), timeout=10).close()
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)
    finally:
        command.kill()
    assert command.returncode == 0 and "A preferred" in out and err == "" and len(kept(run_dir)) == 1


def test_judging_needs_no_torch(run_dir):
    code = (
        "import sys, fastdiff.judge.server as ballot, fastdiff.judge.votes as judge\n"
        f"ballot.Server(ballot.Sitting({str(run_dir)!r}, judge.questions({str(run_dir)!r}, judge.pairings("
        f"{str(run_dir)!r}), 'ann', 2), 'ann')).server_close()\n"
        "print([name for name in ('torch', 'matplotlib', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# ---- in a browser ---------------------------------------------------------------------------------------------------

PRESS = """
(async () => {
  const calm = async () => { while (!ready && state.token) await new Promise(done => setTimeout(done, 20)); };
  await calm();
  const seen = [...document.querySelectorAll(".pair img")].map(image => [image.naturalWidth, image.width]);
  seen.push(at("number").textContent, document.querySelector("[data-choice=undo]").disabled);
  const left = [];                                              // keys that the page leaves to the browser
  for (const key of KEYS_TO_PRESS) {
    if (key.startsWith("click ")) document.querySelector(`[data-choice=${key.slice(6)}]`).click();
    else {
      const press = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true});
      if (document.body.dispatchEvent(press)) left.push(key);
    }
    await calm();
  }
  seen.push(at("number").textContent, document.documentElement.scrollWidth - innerWidth, left);
  document.body.dataset.seen = JSON.stringify(seen);
})();
"""


def browse(server, monkeypatch, tmp_path, keys, size="1000,800"):
    """Open the page in a browser and press keys: what was seen before and after, the page at the end."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or pytest.skip("no browser")
    plain, script = ballot.page, PRESS.replace("KEYS_TO_PRESS", json.dumps(keys))
    monkeypatch.setattr(
        ballot,
        "page",
        lambda state, side, nonce: plain(state, side, nonce).replace(
            "</body>", f'<script nonce="{nonce}">{script}</script></body>'
        ),
    )
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'browser'}",
            f"--window-size={size}",
            "--dump-dom",
            "--virtual-time-budget=20000",
            server.url,
        ],
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    text = done.stdout.partition('data-seen="')[2].partition('"')[0].replace("&quot;", '"')
    return json.loads(text), done.stdout


def test_a_browser_judges_by_keyboard_alone(run_dir, tmp_path, monkeypatch):
    with served(sitting(run_dir, n=5)) as server:
        asked = list(server.sitting.questions)
        keys = ["Backspace", "ArrowLeft", "ArrowRight", "Backspace", "ArrowLeft", "x", "ArrowDown", " "]
        seen, page = browse(server, monkeypatch, tmp_path, keys)
    left, right, first, no_undo, last, beyond, unused = seen
    assert left == right == [8, 192] and (first, no_undo, last) == ("1 of 5", True, "5 of 5")
    assert beyond <= 0 and unused == ["x"]
    assert [row["choice"] for row in kept(run_dir)] == [
        asked[0].sides[0],
        asked[1].sides[1],
        None,
        asked[1].sides[0],
        "none",
        "none",
    ]
    assert all(row["a"] not in page for row in kept(run_dir)) and "Which looks more real?" in page


def test_a_browser_reaches_the_end_by_buttons_on_a_narrow_screen(run_dir, tmp_path, monkeypatch):
    with served(sitting(run_dir, n=2)) as server:
        asked = list(server.sitting.questions)
        seen, page = browse(server, monkeypatch, tmp_path, ["click right", "click left"], size="375,667")
    assert [row["choice"] for row in kept(run_dir)] == [asked[0].sides[1], asked[1].sides[0]]
    assert seen[0][1] % 8 == 0 and seen[0][1] >= 96 and seen[-2] <= 0
    assert "All 2 pairs are judged." in page and all(f"<td>{q.a}</td>" in page for q in asked)
