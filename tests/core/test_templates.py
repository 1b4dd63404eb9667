"""Templates: values are escaped in pages, and a missing one is an error."""

import pytest
from jinja2 import UndefinedError

from fastdiff.core.templates import render


@pytest.mark.parametrize(("name", "text"), [("page.html.j2", "&lt;b&gt;"), ("card.md.j2", "<b>")])
def test_values_are_escaped_in_pages_alone(tmp_path, name, text):
    (tmp_path / name).write_text("{{ value }}")
    assert render(tmp_path / name, value="<b>") == text


def test_a_value_that_is_not_given_is_an_error(tmp_path):
    (tmp_path / "card.md.j2").write_text("{{ value }}")
    with pytest.raises(UndefinedError, match="value"):
        render(tmp_path / "card.md.j2")
