"""Shipped reports are those that the code of their commit writes from their rows."""

import re

import pytest

from fastdiff.evaluation import report
from fastdiff.evaluation.report.writers import PLOTS
from tests.helpers.paths import ROOT

SHIPPED = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/report.html"))
WRITTEN = (*PLOTS, "grid.png", "report.html", "report.md")


def without_codecs(page: str) -> str:
    """The page without the bytes of compressed pictures, which depend on the version of their encoder."""
    return re.sub(r"data:image/webp;base64,[\w+/=]+", "", page)


@pytest.mark.long
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_report_is_what_its_rows_give(name, tmp_path):
    source, run_dir = ROOT / "checkpoints" / name, tmp_path / name
    run_dir.mkdir()
    for path in source.iterdir():
        if path.name not in WRITTEN:
            (run_dir / path.name).symlink_to(path)
    report.write(run_dir)
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in source.iterdir()}
    for file in ("report.html", "report.md"):
        shipped, fresh = ((folder / file).read_text(encoding="utf-8") for folder in (source, run_dir))
        assert without_codecs(shipped) == without_codecs(fresh), f"run fastdiff report checkpoints/{name}"
