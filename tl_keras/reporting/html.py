"""The HTML page: one file that needs no other, and the table alone, as a notebook shows it."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import jinja2

from tl_keras import __version__
from tl_keras.reporting.content import Report, Table, labelled


def render(report: Report) -> str:
    """The page of `report`: images inside, light and dark, printable, two columns where there is room."""
    page = _templates().get_template("report.html")
    return page.render(report=report, sections=labelled(report), version=__version__)


def table(block: Table) -> str:
    """The HTML of one table."""
    return _templates().get_template("table.html").module.table(block)  # type: ignore[attr-defined]


@cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return templates
