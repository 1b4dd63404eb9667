"""The page in a real browser: it shows what the rows say, with the keyboard alone."""

import math

import numpy as np
import pytest
from PIL import Image

from tests.helpers.report_pages import FINITE, NFE, ODD, SIDE, TIME, plausible, sheets, written


def tile(pixels, noise):
    row, column = divmod(noise, 16)
    return pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


def test_the_plots_hold_every_finite_point_and_the_line_to_aim_at(browser, digits_page):
    browser.open(digits_page[0])
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
    places = browser.js(f"""[...document.querySelectorAll('{NFE} .point')].map((node) =>
        [node.getAttribute("aria-label"), node.transform.baseVal[0].matrix.e,
        node.transform.baseVal[0].matrix.f])""")
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


def test_points_speak_to_keyboard_and_pointer(browser, digits_page):
    browser.open(digits_page[0])
    tip = f"{NFE} + .tip"
    browser.focus(f"{NFE} .point[tabindex='0']")
    assert browser.texts(tip)[0].startswith("teacher · ddim1 step · 1 NFEfid 242 ± ")
    label = "document.activeElement.getAttribute('aria-label')"
    browser.press("ArrowRight", 2)
    assert browser.js(label).startswith("teacher · ddim, 4 steps · 4 NFE, fid 48.5")
    assert "1.6 ms per image" in browser.texts(tip)[0] and "n = 64 · seeds 0, 1, 2" in browser.texts(tip)[0]
    browser.press("ArrowLeft", 3)
    assert browser.js(label).startswith("broken")
    browser.press("ArrowRight")
    assert browser.js(label).startswith("teacher · ddim, 1 step ")
    assert browser.count(f"{NFE} .point[tabindex='0']") == 1
    browser.press("Escape")
    assert browser.js(f"document.querySelector('{tip}').hidden")
    browser.click(f"{TIME} .point:last-of-type .marker")
    assert browser.texts(f"{TIME} + .tip")[0].startswith("broken · ddim2 steps")


def test_the_legend_hides_a_line_and_shows_it_again(browser, digits_page):
    browser.open(digits_page[0])
    assert browser.texts("#legend button") == ["teacher ddim", "teacher ddpm", "consistency", ODD, "broken"]
    browser.focus("#legend button:nth-child(3)")
    for key, pressed, shown in ((" ", "false", FINITE - 3), ("Enter", "true", FINITE)):
        browser.press(key)
        assert browser.js("document.activeElement.getAttribute('aria-pressed')") == pressed
        assert browser.count(f"{NFE} .point") == browser.count(f"{TIME} .point") == shown
    for i in range(5):
        browser.click(f"#legend button:nth-child({i + 1})")
    assert browser.count(".plot .point") == 0 and browser.texts(f"{NFE} text") == ["no fid to draw"]


def test_another_metric_changes_plots_and_pictures(browser, digits_page):
    browser.open(digits_page[0])
    browser.js("find('metric').value = 'is'; find('metric').dispatchEvent(new Event('change'))")
    assert "is (higher is better)" in browser.texts(f"{NFE} text")
    place = "[...document.querySelectorAll('" + NFE + " .point')].map((p) => p.transform.baseVal[0].matrix.f)"
    worst, *_, best = browser.js(place)[:5]
    assert worst > best  # higher is above
    words = browser.texts("#cards .figure")
    assert words[0] == "for comparison" and words[-1] == "–" and words[1].startswith("4.51")


def test_slider_and_noises_show_the_very_tiles(browser, digits_page):
    path, pixels = digits_page
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
    assert browser.texts("#line option:checked") == [ODD] and browser.texts("#seen") == ["2 steps"]
    assert (
        browser.pixels("#noises label:nth-child(6) canvas") == tile(pixels[f"{ODD}-ddim-uniform-2"], 5)
    ).all()
    assert browser.texts("#matrix thead .now") == ["2"]
    browser.focus("#steps")
    browser.press("ArrowRight", 9)
    assert browser.texts("#chosen") == ["1000 steps"] and browser.count("#cards .absent") == 4
    assert browser.texts("#seen") == ["4 steps"]  # the nearest it has


def test_the_best_of_a_step_count_is_marked_among_pictures_and_in_the_table(browser, digits_page):
    browser.open(digits_page[0])
    assert browser.texts("#cards .leads strong") == [ODD]
    best = browser.js("""[...document.querySelectorAll('#benchmark ~ div tbody tr')]
        .filter((row) => row.querySelector(".best"))
        .map((row) => [row.cells[0].textContent, row.cells[2].textContent])""")
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


def test_headings_sort_by_number_with_what_is_missing_last(browser, digits_page):
    browser.open(digits_page[0])
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


def test_the_tab_key_reaches_every_control(browser, digits_page):
    browser.open(digits_page[0])
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
        "film",
        "TH button",
    ):
        assert control in text, control
    assert text.count("svg point") == 2 and text.count("LABEL radio") == 1  # the arrows do the rest


@pytest.mark.parametrize("kind", ["digits", "bare"])
def test_a_phone_scrolls_down_and_never_sideways(browser, digits_page, tmp_path, kind):
    browser.open(digits_page[0] if kind == "digits" else written(tmp_path, plausible(1))[0], width=375)
    assert browser.js("innerWidth") == 375 == browser.js("document.documentElement.scrollWidth")
    tables = browser.js("""[...document.querySelectorAll(".scroll")].map((box) => { box.scrollLeft = 99;
        const [outer, inner] = [box, box.querySelector("tbody th")]
            .map((node) => node.getBoundingClientRect().left);
        return [box.scrollWidth > box.clientWidth, inner - outer]; })""")
    assert any(wide for wide, _ in tables) and all(
        abs(left) < 2 for _, left in tables
    )  # the first column stays
    assert browser.js(f"document.querySelector('{NFE}').viewBox.baseVal.width") < 375


def test_the_dark_scheme_is_followed_and_readable(browser, digits_page):
    def contrast(selector):
        seen = browser.js(f"""["color", "background-color"].map((name, i) =>
            getComputedStyle(i ? document.body
            : document.querySelector("{selector}"))[name].match(/\\d+/g).slice(0, 3).map(Number))""")
        linear = np.where((c := np.array(seen) / 255) <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        ink, paper = sorted(linear @ (0.2126, 0.7152, 0.0722), reverse=True)
        return (ink + 0.05) / (paper + 0.05), seen[1]

    for dark in (False, True):
        browser.open(digits_page[0], dark=dark)
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
