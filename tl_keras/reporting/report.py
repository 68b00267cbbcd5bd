"""One report for every study: a small content model, written as figures, as one HTML file and as a PDF of the same.

>>> report = Report(
...     title="Which way of re-using VGG16 works best?",
...     subtitle="CIFAR-10, 50 epochs",
...     summary=["Training the last two layers reaches 0.925."],
...     sections=[sections.training_section(arms)],
... )
>>> write(report, RunFolder(Path("runs/vgg16")))
"""

from __future__ import annotations

from tl_keras import __version__
from tl_keras.files import write_bytes
from tl_keras.reporting import pdf, templates
from tl_keras.reporting.content import Figure, Report, labelled
from tl_keras.run_folder import RunFolder


def write(report: Report, out: RunFolder) -> None:
    """Write `plots/NAME.png` of every figure, then report.html and report.pdf; the same report gives the same bytes.

    Every file is whole or absent: where a figure cannot be drawn, the pages of before stay as they were.
    """
    for figure in (block for section in report.sections for block in section.blocks if isinstance(block, Figure)):
        write_bytes(out.plot(figure.name), figure.png)
    page = templates.get("report.html").render(report=report, sections=labelled(report), version=__version__)
    pages = {"report.html": page.encode(), "report.pdf": pdf.render(report)}
    for name, content in pages.items():
        write_bytes(out.path / name, content)
