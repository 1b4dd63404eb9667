"""The page's file: it stays small and whole in itself."""

import base64
import io
import json
import math
import os
import re

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.report import page
from fastdiff.evaluation.summary import REAL, real_groups, summary
from tests.helpers.report_pages import ODD, SIDE, cells, plausible, sheets, written


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
        not re.findall(r'(?:src|href)="(?!data:image/|#)', text)
        and "@import" not in text
        and "url(" not in text
    )
    assert ODD in {line["name"] for line in embedded(text)["lines"]}


def test_the_script_gets_the_figures_and_null_for_what_is_none(tmp_path):
    _, text = written(tmp_path, plausible())
    data, groups = embedded(text), summary(plausible())
    assert [metric["name"] for metric in data["metrics"]] == ["fid", "fid_inf", "is"]
    assert [metric["better"] for metric in data["metrics"]] == ["lower", "lower", "higher"]
    for metric in data["metrics"]:
        [level] = metric["levels"]
        assert level["text"].startswith("teacher ddpm, 1000 steps: ") and metric["real"] == "for comparison"
    for point, group in zip(data["points"], groups, strict=True):
        assert data["lines"][point["line"]] == {"name": group["line"], "teacher": group["teacher"]}
        assert point["figures"] == group["figures"] and point["cell"] == group["cell"]
        fid = group["fid"]
        assert point["values"]["fid"] == (pytest.approx(fid, rel=1e-5) if math.isfinite(fid) else None)
    assert data["sheets"] == {}


def test_figures_are_sorted_by_their_numbers():
    texts = {"24.2 ± 0.2 ≈": 24.2, "1.00 ≈": 1.0, "−2.00 (no interval)": -2.0, "+0.5 ± 1.0": 0.5}
    texts |= {"−1.2 to +3": -1.2, "1,200": 1200.0, "–": None, "": None, "diverged": None, "ddim": "ddim"}
    assert {text: page._value(text) for text in texts} == texts


def test_real_data_are_a_line_of_the_plots(tmp_path):
    rows = plausible()
    real = [row | {"model": REAL, "key": f"real{i}", "seed": i} for i, row in enumerate(rows[:3])]
    groups = summary(rows)
    reals = real_groups(rows + real, groups, ["fid", "is"])
    levels = page._data(groups, ["fid", "is"], {}, reals)["metrics"][0]["levels"]
    assert [level["text"].split(":")[0] for level in levels] == ["teacher ddpm, 1000 steps", REAL]
    assert levels[1]["value"] == pytest.approx(reals[0]["fid"], rel=1e-5)


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


@pytest.mark.long
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
    assert len(embedded(text)["sheets"]) == text.count('class="film"') == count


def test_a_sheet_too_large_keeps_its_first_row_without_loss_where_that_fits(tmp_path, monkeypatch):
    pixels = sheets(tmp_path, (4 * SIDE, 16 * SIDE))
    monkeypatch.setattr(page, "SAMPLES_BYTES", len(pixels) * 2 * 16 * SIDE * SIDE)
    for cell, source in embedded(written(tmp_path, plausible())[1])["sheets"].items():
        assert source.startswith("data:image/webp;base64,")
        assert (decoded(source)[..., 0] == pixels[cell][:SIDE]).all()


def decoded(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


def test_the_page_begins_with_what_is_read_first_and_ends_with_how_it_was_made(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: <b>\n")
    (tmp_path / "consistency").mkdir()
    log = [json.dumps({"step": step, "loss": 1 / step}) for step in (1, 2, 3)]
    (tmp_path / "consistency/log.jsonl").write_text("\n".join(log))
    sheets(tmp_path, (SIDE, 16 * SIDE), "trajectory")
    _, text = written(tmp_path, plausible())
    heads = re.findall(r'<h2 id="(\w+)">', text)
    assert heads[:3] == ["bysteps", "ranking", "quality"] and heads[-2:] == ["losses", "recipe"]
    assert re.findall(r'<a href="#(\w+)">', text) == heads  # the contents
    assert text.index('class="verdict"') < text.index('id="bysteps"')
    assert "name: &lt;b&gt;" in text and "1.00 to 0.333 in 3 steps" in text


def test_without_logs_and_recipe_there_are_no_curves(tmp_path):
    _, text = written(tmp_path, plausible())
    assert 'id="losses"' not in text and 'id="recipe"' not in text and "#losses" not in text
