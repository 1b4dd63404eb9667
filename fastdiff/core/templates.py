"""Jinja templates that lie beside the code that fills them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **context: Any) -> str:
    """Fill a template.

    Args:
        template: path of the file; templates that it includes are looked up in its folder. In a template
            named *.html.* values are escaped.
        context: values of the template's variables. A variable without a value is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=".html" in template.suffixes,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template.name).render(**context)
