"""The HTML templates: the page, and the table alone, as a notebook shows it."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from tl_keras.reporting.content import Table


def table(block: Table) -> str:
    """The HTML of one table."""
    return get("table.html").module.table(block)  # type: ignore[attr-defined]


def get(name: str) -> jinja2.Template:
    """The template called `name`; what it is given is escaped, and has to be all that it names.

    >>> get("table.html").name
    'table.html'
    """
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return templates
