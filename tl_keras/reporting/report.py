"""One report for every study: a small content model, written as one HTML file and as a PDF of the same content.

>>> report = Report(
...     title="Which way of re-using VGG16 works best?",
...     subtitle="CIFAR-10, 50 epochs",
...     summary=["Training the last two layers reaches 0.925."],
...     sections=[Section("Results", [Figure("plots/vgg16.png", "Accuracy by epoch"), Text("It still rises.")])],
... )
>>> write_html(report, "report.html")
>>> write_pdf(report, "report.pdf")
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from tl_keras import __version__
from tl_keras.files import write_bytes
from tl_keras.reporting import pdf
from tl_keras.reporting.content import Report, labelled


def write_html(report: Report, path: str | Path) -> None:
    """Write `report` as one HTML file that needs no other: images inside, light and dark, printable.

    Raises:
        FileNotFoundError: an image of the report is missing.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html").render(report=report, sections=labelled(report), version=__version__)
    write_bytes(path, page.encode())


def write_pdf(report: Report, path: str | Path) -> None:
    """Write `report` as an A4 PDF with the content of the HTML page; the same report gives the same bytes.

    Raises:
        FileNotFoundError: an image of the report is missing.
    """
    write_bytes(path, pdf.render(report))
