"""The tables of settings in the documentation are those that the code gives."""

import runpy

import pytest

from tests.helpers.documents import PAGES
from tests.helpers.paths import ROOT

TABLES = runpy.run_path(str(ROOT / "recipes/tables.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_written_by_the_code(page):
    assert ("<!-- table: " in page.text) == (page.name in TABLES["PAGES"])
    assert TABLES["updated"](page.text) == page.text, "run python recipes/tables.py"


def test_a_stale_table_is_written_anew():
    stale = "a\n<!-- table: gan -->\nold\n<!-- end -->\nb\n"
    fresh = TABLES["updated"](stale)
    assert "old" not in fresh and "| `gan.weight` | float (at least 0) | `0` |" in fresh
    assert fresh.startswith("a\n<!--") and fresh.endswith("<!-- end -->\nb\n")
    assert TABLES["updated"](fresh) == fresh
