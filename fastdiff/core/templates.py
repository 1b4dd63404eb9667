"""Rendering of Jinja templates, which are stored next to the code that fills them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **context: Any) -> str:
    """Return a template filled with values.

    Args:
        template: path of the template; the templates that it includes are looked up in its folder. Values are
            escaped in templates named *.html.*.
        context: values of the template's variables; a variable without a value is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=".html" in template.suffixes,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template.name).render(**context)
