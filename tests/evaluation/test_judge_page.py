"""The page of the judge in a browser."""

import json
import shutil
import subprocess

import pytest

from fastdiff.evaluation.judge import server as ballot
from tests.helpers.judging import kept, served, sitting

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
