"""The page shows what the rows say, in a real browser, with the keyboard alone; and it stays small and whole in itself."""

import base64
import io
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.report import page
from fastdiff.evaluation.summary import metrics_of, summary

SIDE = 8
ODD = """<b>&"odd' """.strip()
VALUES = {
    ("teacher", "ddim"): {1: 240.0, 2: 120.0, 4: 48.0, 50: 4.4},
    ("teacher", "ddpm"): {1000: 3.2},
    ("consistency", "consistency"): {1: 9.4, 2: 6.4, 4: 5.6},
    (ODD, "ddim"): {1: 8.1, 2: 5.2, 4: 6.6},
    ("broken", "ddim"): {1: math.inf, 2: 700.0},
}
FINITE = sum(math.isfinite(value) for at in VALUES.values() for value in at.values())
DIFFERENCES = [
    {
        "a": "consistency",
        "b": ODD,
        "steps": s,
        "metric": "kid",
        "difference": d,
        "low": d - 0.2,
        "high": d + 0.2,
    }
    for s, d in ((1, 0.3), (2, 0.1))
]
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


# ---- a run that was never run ---------------------------------------------------------------------------------------


def plausible(seeds=3):
    rows = []
    for (model, sampler), at in VALUES.items():
        for steps, value in at.items():
            for seed in range(seeds):
                fid = value * (1 + 0.01 * seed)
                what = {
                    "model": model,
                    "sampler": sampler,
                    "spacing": "uniform",
                    "steps": steps,
                    "guidance": 1.0,
                    "n": 64,
                }
                cost = {"nfe": steps, "ms_per_image": 0.4 * steps, "flops_per_image": 6e9 * steps}
                figures = {
                    "fid": fid,
                    "fid_inf": 0.9 * fid,
                    "is": 10 - math.log(fid) if math.isfinite(fid) else None,
                }
                made = {
                    "method": "denoising" if model == "teacher" else "cd",
                    "cell": f"{model}-{sampler}-uniform-{steps}",
                }
                rows.append({"key": f"{made['cell']}-{seed}", "seed": seed} | what | cost | figures | made)
    return rows


def written(run_dir, rows):
    """The page of these rows as a file, and as text."""
    text = page.html(
        run_dir,
        summary(rows),
        metrics_of(rows),
        f"{ODD} is best.",
        ["a < b"],
        ["few & noisy"],
        (["Model", "Images"], [["teacher", "1,000"]]),
        DIFFERENCES,
        {"device": "<cpu>"},
    )
    path = run_dir / "page.html"
    path.write_text(text, encoding="utf-8")
    return path, text


def sheets(run_dir, shape, folder="samples", seed=0):
    """Noise as the sheet of each cell, and of the real data: (height, width) -> {cell: pixels}."""
    (run_dir / folder).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pixels = {cell: rng.integers(0, 256, shape, dtype=np.uint8) for cell in [*cells(), "real"]}
    for cell, image in pixels.items():
        Image.fromarray(image).save(run_dir / folder / f"{cell}.png")
    return pixels


def cells():
    return list(dict.fromkeys(row["cell"] for row in plausible(1)))


# ---- the file -------------------------------------------------------------------------------------------------------


def embedded(text):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


def test_the_page_is_whole_in_itself_and_escapes_what_it_shows(tmp_path):
    run_dir = tmp_path / ODD
    sheets(run_dir, (4 * SIDE, 16 * SIDE))
    _, text = written(run_dir, plausible())
    assert "<h1>&lt;b&gt;&amp;&#34;odd&#39;</h1>" in text and ODD not in text
    assert "few &amp; noisy" in text and "a &lt; b" in text and "&lt;cpu&gt;" in text
    assert "http://" not in text and "https://" not in text and "Content-Security-Policy" in text
    assert (
        not re.findall(r'(?:src|href)="(?!data:image/)', text)
        and "@import" not in text
        and "url(" not in text
    )
    assert ODD in {line["name"] for line in embedded(text)["lines"]}


def test_the_script_gets_the_figures_and_null_for_what_is_none(tmp_path):
    _, text = written(tmp_path, plausible())
    data, groups = embedded(text), summary(plausible())
    assert [metric["name"] for metric in data["metrics"]] == ["fid", "is"]
    assert [metric["better"] for metric in data["metrics"]] == ["lower", "higher"]
    assert all(groups[metric["aim"]]["cell"] == "teacher-ddpm-uniform-1000" for metric in data["metrics"])
    for point, group in zip(data["points"], groups, strict=True):
        assert data["lines"][point["line"]] == {"name": group["line"], "teacher": group["teacher"]}
        assert point["figures"] == group["figures"] and point["cell"] == group["cell"]
        fid = group["fid"]
        assert point["values"]["fid"] == (pytest.approx(fid, rel=1e-5) if math.isfinite(fid) else None)
    assert data["sheets"] == {}


def test_without_pictures_there_is_no_viewer(tmp_path):
    _, text = written(tmp_path, plausible())
    assert 'id="cards"' not in text and 'id="trajectories"' not in text and "data:image" not in text
    assert 'id="benchmark"' in text


def test_real_data_alone_are_nothing_to_compare(tmp_path):
    sheets(tmp_path, (SIDE, 16 * SIDE))
    for cell in cells():
        (tmp_path / "samples" / f"{cell}.png").unlink()
    assert 'id="cards"' not in written(tmp_path, plausible())[1]


def test_small_pictures_are_kept_to_the_byte(tmp_path):
    sheets(tmp_path, (SIDE, 16 * SIDE))
    found = embedded(written(tmp_path, plausible())[1])["sheets"]
    assert set(found) == {"real", *cells()}
    for cell, source in found.items():
        kind, code = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(code) == (tmp_path / "samples" / f"{cell}.png").read_bytes()


@pytest.mark.parametrize("side, count", [(64, 60), (256, 4)])
def test_a_page_stays_below_five_megabytes_whatever_its_pictures(tmp_path, side, count):
    rng = np.random.default_rng(0)
    rows = [
        row | {"model": f"m{i}", "cell": f"m{i}", "key": f"{i}"}
        for i, row in enumerate(plausible(1)[:1] * count)
    ]
    for folder, (high, wide) in {"samples": (4, 16), "trajectory": (8, 10)}.items():
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 256, (high * side, wide * side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "m0.png", compress_level=1)
        for i in range(1, count):
            os.link(tmp_path / folder / "m0.png", tmp_path / folder / f"m{i}.png")
    path, text = written(tmp_path, rows)
    assert path.stat().st_size < 5e6
    assert len(embedded(text)["sheets"]) == text.count("<details>") == count


def test_a_sheet_too_large_keeps_its_first_row_without_loss_where_that_fits(tmp_path, monkeypatch):
    pixels = sheets(tmp_path, (4 * SIDE, 16 * SIDE))
    monkeypatch.setattr(page, "SAMPLES", len(pixels) * 2 * 16 * SIDE * SIDE)
    for cell, source in embedded(written(tmp_path, plausible())[1])["sheets"].items():
        assert source.startswith("data:image/webp;base64,")
        assert (decoded(source)[..., 0] == pixels[cell][:SIDE]).all()


def decoded(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


# ---- a browser ------------------------------------------------------------------------------------------------------


class Browser:
    """One tab of Chromium, driven through its debugging pipe."""

    def __init__(self, program, home):
        self.pipe, theirs = socket.socketpair()
        self.pipe.settimeout(60)
        # The browser reads commands from descriptor 3 and answers on 4.
        start = "import os, sys; [os.dup2(int(sys.argv[1]), to) for to in (3, 4)]; os.execvp(sys.argv[2], sys.argv[2:])"
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, str(theirs.fileno()), program, *options, f"--user-data-dir={home}"],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.sent, self.received, self.tab, self.events = 0, b"", {}, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.tab = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self.sent += 1
        self.pipe.sendall(
            json.dumps({"id": self.sent, "method": method, "params": params} | self.tab).encode() + b"\0"
        )
        while (answer := self._read()).get("id") != self.sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self.received:
            self.received += self.pipe.recv(2**20) or pytest.fail("the browser closed its pipe")
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, width=1280, dark=False):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self(
            "Runtime.evaluate",
            awaitPromise=True,
            expression="""new Promise((done) => {
            const wait = () => !find("cards") || find("cards").children.length ? done() : setTimeout(wait, 5);
            wait(); })""",
        )

    def js(self, expression):
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def focus(self, selector):
        self.js(f"document.querySelector({json.dumps(selector)}).focus()")

    def press(self, key, times=1):
        typed = {"Enter": "\r", " ": " "}.get(key)
        code = {"key": key, "windowsVirtualKeyCode": KEYS[key]} | (
            {"code": "Space"} if key == " " else {"code": key}
        )
        for _ in range(times):
            self("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": typed} if typed else {}))
            self("Input.dispatchKeyEvent", type="keyUp", **code)

    def click(self, selector):
        box = self.js(f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
            node.scrollIntoView({{ block: "center" }});
            const {{ x, y, width, height }} = node.getBoundingClientRect(); return [x + width / 2, y + height / 2]; }})()""")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def texts(self, selector):
        return self.js(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent)"
        )

    def count(self, selector):
        return self.js(f"document.querySelectorAll({json.dumps(selector)}).length")

    def pixels(self, selector):
        """The red channel of a canvas."""
        found = self.js(f"""(() => {{ const canvas = document.querySelector({json.dumps(selector)});
            const {{ width, height }} = canvas; const {{ data }} = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, [...data].filter((_, i) => i % 4 === 0)]; }})()""")
        return np.array(found[2], np.uint8).reshape(found[1], found[0])

    def complaints(self):
        self.js("0")  # what was still under way arrives before the answer
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip(
            "no chromium, chromium-browser or google-chrome on the path: the page is not tried in a browser"
        )
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.pipe.close()
    browser.process.terminate()
    browser.process.wait(30)


@pytest.fixture
def browser(chromium):
    """The tab, which must have nothing to complain of at the end."""
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of images: its page, and the pixels of its sheets."""
    run_dir = tmp_path_factory.mktemp("digits")
    pixels = sheets(run_dir, (4 * SIDE, 16 * SIDE))
    sheets(run_dir, (8 * SIDE, 4 * SIDE), "trajectory")
    return written(run_dir, plausible())[0], pixels


def tile(pixels, noise):
    row, column = divmod(noise, 16)
    return pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


NFE, TIME = '.plot svg[data-cost="nfe"]', '.plot svg[data-cost="ms"]'


def test_the_plots_hold_every_finite_point_and_the_line_to_aim_at(browser, digits):
    browser.open(digits[0])
    for svg in (NFE, TIME):
        assert browser.count(f"{svg} .point") == FINITE
        assert browser.count(f"{svg} .error") == FINITE
        assert any(text.startswith("teacher ddpm, 1000 steps: 3.23") for text in browser.texts(f"{svg} text"))
    assert [text for text in browser.texts(f"{NFE} text") if text.isdigit()][:5] == [
        "1",
        "2",
        "4",
        "50",
        "1000",
    ]
    places = browser.js(f"""[...document.querySelectorAll('{NFE} .point')].map((node) => [node.getAttribute("aria-label"),
        node.transform.baseVal[0].matrix.e, node.transform.baseVal[0].matrix.f])""")
    at = {label.split(",")[0] + label.split(",")[1].split(" ·")[0]: (x, y) for label, x, y in places}
    assert (
        at["teacher · ddim 1 step"][0] < at["teacher · ddim 2 steps"][0] < at["teacher · ddpm 1000 steps"][0]
    )
    assert (
        at["teacher · ddim 1 step"][1] < at["teacher · ddim 2 steps"][1] < at["teacher · ddpm 1000 steps"][1]
    )
    ratio = (at["teacher · ddim 4 steps"][0] - at["teacher · ddim 1 step"][0]) / (
        at["teacher · ddim 2 steps"][0] - at["teacher · ddim 1 step"][0]
    )
    assert ratio == pytest.approx(2, abs=0.01)  # logarithmic


def test_points_speak_to_keyboard_and_pointer(browser, digits):
    browser.open(digits[0])
    tip = f"{NFE} + .tip"
    browser.focus(f"{NFE} .point[tabindex='0']")
    assert browser.texts(tip)[0].startswith("teacher · ddim1 step · 1 NFEfid 242 ± ")
    label = "document.activeElement.getAttribute('aria-label')"
    browser.press("ArrowRight", 2)
    assert browser.js(label).startswith("teacher · ddim, 4 steps · 4 NFE, fid 48.5")
    assert "1.6 ms an image" in browser.texts(tip)[0] and "n = 64 · seeds 0, 1, 2" in browser.texts(tip)[0]
    browser.press("ArrowLeft", 3)
    assert browser.js(label).startswith("broken")
    browser.press("ArrowRight")
    assert browser.js(label).startswith("teacher · ddim, 1 step ")
    assert browser.count(f"{NFE} .point[tabindex='0']") == 1
    browser.press("Escape")
    assert browser.js(f"document.querySelector('{tip}').hidden")
    browser.click(f"{TIME} .point:last-of-type .marker")
    assert browser.texts(f"{TIME} + .tip")[0].startswith("broken · ddim2 steps")


def test_the_legend_hides_a_line_and_shows_it_again(browser, digits):
    browser.open(digits[0])
    assert browser.texts("#legend button") == ["teacher ddim", "teacher ddpm", "consistency", ODD, "broken"]
    browser.focus("#legend button:nth-child(3)")
    for key, pressed, shown in ((" ", "false", FINITE - 3), ("Enter", "true", FINITE)):
        browser.press(key)
        assert browser.js("document.activeElement.getAttribute('aria-pressed')") == pressed
        assert browser.count(f"{NFE} .point") == browser.count(f"{TIME} .point") == shown
    for i in range(5):
        browser.click(f"#legend button:nth-child({i + 1})")
    assert browser.count(".plot .point") == 0 and browser.texts(f"{NFE} text") == ["no fid to draw"]


def test_another_metric_changes_plots_and_pictures(browser, digits):
    browser.open(digits[0])
    browser.js("find('metric').value = 'is'; find('metric').dispatchEvent(new Event('change'))")
    assert "is (higher is better)" in browser.texts(f"{NFE} text")
    place = "[...document.querySelectorAll('" + NFE + " .point')].map((p) => p.transform.baseVal[0].matrix.f)"
    worst, *_, best = browser.js(place)[:5]
    assert worst > best  # higher is above
    words = browser.texts("#cards .figure")
    assert words[0] == "for comparison" and words[-1] == "–" and words[1].startswith("4.51")


def test_slider_and_noises_show_the_very_tiles(browser, digits):
    path, pixels = digits
    browser.open(path)
    assert browser.texts("#chosen") == ["1 step"] and browser.count("#noises input") == 64
    assert browser.texts("#cards strong") == [
        "real data",
        "teacher ddim",
        "teacher ddpm",
        "consistency",
        ODD,
        "broken",
    ]
    assert browser.count("#cards .absent") == 1  # no teacher's ddpm at one step

    def shown(steps, noise):
        assert (browser.pixels("#cards figure:nth-child(1) canvas") == tile(pixels["real"], noise)).all()
        student = pixels[f"consistency-consistency-uniform-{steps}"]
        assert (browser.pixels("#cards figure:nth-child(4) canvas") == tile(student, noise)).all()
        named = f"""canvas[aria-label="consistency, {steps} step{"s" * (steps > 1)}, noise {noise}"]"""
        assert browser.count(f"#cards {named}") == browser.count(f"#matrix .now {named}") == 1

    shown(1, 0)
    browser.focus("#steps")
    browser.press("ArrowRight", 2)
    assert (
        browser.js("find('steps').getAttribute('aria-valuetext')") == "4 steps" == browser.texts("#chosen")[0]
    )
    shown(4, 0)
    browser.focus("#noises input:checked")
    browser.press("ArrowRight", 3)
    shown(4, 3)
    browser.click("#noises label:nth-child(42) canvas")
    shown(4, 41)
    browser.press("ArrowLeft")
    shown(4, 40)
    browser.click("#matrix tbody tr:nth-child(4) td:nth-child(3) canvas")  # the odd one at two steps
    shown(2, 40)
    assert browser.texts("#line option:checked") == [ODD] and browser.texts("#seen") == ["at 2 steps"]
    assert (
        browser.pixels("#noises label:nth-child(6) canvas") == tile(pixels[f"{ODD}-ddim-uniform-2"], 5)
    ).all()
    assert browser.texts("#matrix thead .now") == ["2"]
    browser.focus("#steps")
    browser.press("ArrowRight", 9)
    assert browser.texts("#chosen") == ["1000 steps"] and browser.count("#cards .absent") == 4
    assert browser.texts("#seen") == ["at 4 steps"]  # the nearest it has


def test_the_best_of_a_step_count_is_marked_among_pictures_and_in_the_table(browser, digits):
    browser.open(digits[0])
    assert browser.texts("#cards .leads strong") == [ODD]
    best = browser.js("""[...document.querySelectorAll('#benchmark ~ div tbody tr')]
        .filter((row) => row.querySelector(".best")).map((row) => [row.cells[0].textContent, row.cells[2].textContent])""")
    assert best == [["consistency", "4"], [ODD, "1"], [ODD, "2"]]


def test_old_sheets_of_one_row_and_a_mix_of_both(browser, tmp_path):
    sheets(tmp_path, (SIDE, 16 * SIDE))
    Image.fromarray(np.zeros((4 * SIDE, 16 * SIDE), np.uint8)).save(tmp_path / "samples" / "real.png")
    browser.open(written(tmp_path, plausible())[0])
    assert browser.count("#noises input") == 16


def test_points_in_the_plane_have_scatter_plots_and_no_noise(browser, tmp_path):
    pixels = sheets(tmp_path, (60, 60))
    browser.open(written(tmp_path, plausible())[0])
    assert browser.js("find('noise').hidden")
    assert (
        browser.pixels("#cards figure:nth-child(4) canvas") == pixels["consistency-consistency-uniform-1"]
    ).all()
    assert browser.count('#cards canvas[aria-label="consistency, 1 step"]') == 1


def test_headings_sort_by_number_with_what_is_missing_last(browser, digits):
    browser.open(digits[0])
    heads = [text.split()[0] for text in browser.texts("#benchmark ~ div th[scope=col]")]
    column = heads.index("fid") + 1
    before = browser.texts("#benchmark ~ div tbody tr")
    assert before[0].split()[0] == "teacher"
    head, cells = (
        f"#benchmark ~ div th:nth-child({column})",
        f"#benchmark ~ div tbody tr > :nth-child({column})",
    )
    browser.focus(f"{head} button")
    for key, order in (("Enter", "ascending"), (" ", "descending")):
        browser.press(key)
        assert browser.js(f"document.querySelector('{head}').getAttribute('aria-sort')") == order
        *texts, last = browser.texts(cells)
        values = [float(text.split()[0]) for text in texts]
        assert values == sorted(values, reverse=order == "descending") and last == "diverged"
    browser.click(f"{head} button")
    assert browser.texts("#benchmark ~ div tbody tr") == before
    browser.click("#benchmark ~ div th:nth-child(1) button")
    assert browser.texts("#benchmark ~ div tbody th")[-1] == "teacher"
    assert browser.count("#benchmark ~ div th[aria-sort=ascending]") == 1


def test_trajectories_open_on_request(browser, digits):
    browser.open(digits[0])
    assert browser.count("details") == len(cells()) and browser.count("details[open]") == 0
    browser.focus("summary")
    browser.press("Enter")
    assert browser.js("document.querySelector('details[open] img').getBoundingClientRect().width") == 4 * 48
    assert browser.js("getComputedStyle(document.querySelector('details img')).imageRendering") == "pixelated"


def test_the_tab_key_reaches_every_control(browser, digits):
    browser.open(digits[0])
    met = []
    while met.count("metric") < 2 and len(met) < 200:  # round to where it began
        browser.press("Tab")
        met.append(
            browser.js("""(({ id, tagName, parentNode: { id: above, tagName: around }, type, className }) =>
            id || `${above || around} ${type || className.baseVal || tagName}`)(document.activeElement)""")
        )
    text = "\n".join(met)
    for control in (
        "metric",
        "svg point",
        "legend button",
        "steps",
        "line",
        "LABEL radio",
        "DETAILS SUMMARY",
        "TH button",
    ):
        assert control in text, control
    assert text.count("svg point") == 2 and text.count("LABEL radio") == 1  # the arrows do the rest


@pytest.mark.parametrize("kind", ["digits", "bare"])
def test_a_phone_scrolls_down_and_never_sideways(browser, digits, tmp_path, kind):
    browser.open(digits[0] if kind == "digits" else written(tmp_path, plausible(1))[0], width=375)
    assert browser.js("innerWidth") == 375 == browser.js("document.documentElement.scrollWidth")
    tables = browser.js("""[...document.querySelectorAll(".scroll")].map((box) => { box.scrollLeft = 99;
        const [outer, inner] = [box, box.querySelector("tbody th")].map((node) => node.getBoundingClientRect().left);
        return [box.scrollWidth > box.clientWidth, inner - outer]; })""")
    assert any(wide for wide, _ in tables) and all(
        abs(left) < 2 for _, left in tables
    )  # the first column stays
    assert browser.js(f"document.querySelector('{NFE}').viewBox.baseVal.width") < 375


def test_the_dark_scheme_is_followed_and_readable(browser, digits):
    def contrast(selector):
        seen = browser.js(f"""["color", "background-color"].map((name, i) => getComputedStyle(i ? document.body
            : document.querySelector("{selector}"))[name].match(/\\d+/g).slice(0, 3).map(Number))""")
        linear = np.where((c := np.array(seen) / 255) <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        ink, paper = sorted(linear @ (0.2126, 0.7152, 0.0722), reverse=True)
        return (ink + 0.05) / (paper + 0.05), seen[1]

    for dark in (False, True):
        browser.open(digits[0], dark=dark)
        for selector in (".verdict", ".hint", "tr.teacher td", "td.best"):
            ratio, paper = contrast(selector)
            assert ratio > 4.5 and (max(paper) < 60) == dark, selector


@pytest.mark.parametrize("value", [None, math.inf, math.nan, 0.0, -0.25])
def test_figures_that_cannot_be_drawn_do_not_break_the_page(browser, tmp_path, value):
    rows = [row | {"fid": value, "fid_inf": None, "is": value, "nfe": None} for row in plausible()[:2]]
    rows.append(plausible()[5] | {"fid": -1.0, "ms_per_image": None})
    browser.open(written(tmp_path, rows)[0])
    drawable = value is not None and math.isfinite(value)
    assert browser.count(f"{TIME} .point") == drawable and browser.count(f"{NFE} .point") == 1
