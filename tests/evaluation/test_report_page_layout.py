"""The page in a real browser: its contents, its selector of trajectories, and the colours of many lines."""

from tests.helpers.report_pages import NFE, ODD, TIME, cells, plausible, written


def test_trajectories_are_chosen_by_one_selector(browser, digits_page):
    browser.open(digits_page[0])
    shown = ".film:not([hidden])"
    assert browser.count(".film") == len(cells()) and browser.count(shown) == 1
    browser.js("find('film').selectedIndex = 2; find('film').dispatchEvent(new Event('change'))")
    assert browser.count(shown) == 1
    name = browser.js(f"document.querySelector('{shown}').getAttribute('aria-label')")
    assert [name] == browser.texts("#film option:checked") == ["teacher ddim, 4 steps"]
    assert browser.js(f"document.querySelector('{shown} img').getBoundingClientRect().width") == 4 * 48
    assert (
        browser.js(f"getComputedStyle(document.querySelector('{shown} img')).imageRendering") == "pixelated"
    )


def test_of_many_lines_only_the_front_and_the_teacher_are_in_colour(browser, tmp_path):
    rows = plausible(1)
    rows += [
        row | {"model": f"m{i}", "key": f"m{i}-{row['key']}", "cell": f"m{i}", "fid": 20.0 + i}
        for i in range(8)
        for row in rows
        if row["model"] == "consistency"
    ]
    browser.open(written(tmp_path, rows)[0])
    assert browser.count(f"{NFE} g.muted:not(.point)") == 10  # all but the odd one
    assert browser.count(f"{NFE} g.teacher.aimed:not(.point)") == 2
    assert browser.texts("#legend button:not(.rest)") == ["teacher ddim", "teacher ddpm", ODD]
    assert browser.count("#legend button.rest") == 10 and browser.count(".lit") == 0
    browser.focus("#legend button.rest")
    assert browser.count(f"{NFE} .lit:not(.point)") == browser.count(f"{TIME} .lit:not(.point)") == 1


def test_of_few_lines_all_are_in_colour(browser, digits_page):
    browser.open(digits_page[0])
    assert browser.count(".muted") == browser.count(".aimed") == 0


def test_contents_stand_at_the_side_where_there_is_room(browser, digits_page):
    sides = """["nav", "main"].map((name) => document.querySelector(name).getBoundingClientRect())
        .map((box) => [box.left, box.right])"""
    browser.open(digits_page[0], width=1400)
    (_, right), (left, _) = browser.js(sides)
    assert right < left
    browser.open(digits_page[0], width=700)
    (_, right), (left, _) = browser.js(sides)
    assert right > left
