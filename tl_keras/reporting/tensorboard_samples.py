"""Test images as TensorBoard's Images tab shows them: each in a frame that is green or red, with what was answered."""

from __future__ import annotations

import functools
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tl_keras.records import Record
from tl_keras.reporting.error_figures import RIGHT, WRONG
from tl_keras.reporting.figures import FAINT, INK, STYLE

SIDE, FRAME, LINE, MARGIN = 176, 5, 17, 6  # pixels
LETTERS = 13  # pixels of height
KINDS = {"wrong": WRONG, "right": RIGHT, "hidden": FAINT}


def samples(record: Record) -> dict[str, list[bytes]]:
    """PNG files of the record's thumbnails, all of one size: those answered wrong, right, or of hidden classes.

    Each says the true class, the answer and its probability; of each kind the surest answers come first.

    >>> {kind: len(found) for kind, found in samples(record).items()}  # doctest: +SKIP
    {'wrong': 4, 'right': 20}
    """
    test, names = record.test, (*record.class_names, "hidden")
    found: dict[str, list[tuple[float, bytes]]] = {kind: [] for kind in KINDS}
    for row, image in zip(record.thumbnails.rows, record.thumbnails.images, strict=True):
        truth, answer, sure = test.labels[row], test.classes[row], float(test.probabilities[row].max())
        kind = "hidden" if truth < 0 else "right" if truth == answer else "wrong"
        text = [(f"true: {names[truth]}", INK), (f"said: {names[answer]}", KINDS[kind]), (f"{sure:.1%} sure", INK)]
        found[kind].append((sure, _card(image, text, KINDS[kind])))
    # By sureness alone: equally sure ones stay in the order of the test images.
    ordered = {kind: sorted(cards, key=lambda card: -card[0]) for kind, cards in found.items() if cards}
    return {kind: [png for _, png in cards] for kind, cards in ordered.items()}


def _card(image: np.ndarray, lines: list[tuple[str, str]], colour: str) -> bytes:
    """A picture (h, w, C), uint8, in its frame, with lines of text in their colours below."""
    width, height = SIDE + 2 * FRAME, SIDE + 2 * FRAME + MARGIN + LINE * len(lines)
    card = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, width - 1, SIDE + 2 * FRAME - 1), fill=colour)
    draw.rectangle((FRAME, FRAME, FRAME + SIDE - 1, FRAME + SIDE - 1), fill="white")
    picture = Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).convert("RGB")
    scale = SIDE / max(picture.size)
    size = [max(1, round(side * scale)) for side in picture.size]
    # Small pictures keep their pixels, as in the report.
    resampling = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BICUBIC
    picture = picture.resize((size[0], size[1]), resampling)
    card.paste(picture, (FRAME + (SIDE - size[0]) // 2, FRAME + (SIDE - size[1]) // 2))
    for number, (text, paint) in enumerate(lines):
        place = (FRAME, SIDE + 2 * FRAME + MARGIN // 2 + LINE * number)
        draw.text(place, _fitting(" ".join(text.split())), fill=paint, font=_font())
    file = BytesIO()
    card.save(file, format="PNG")
    return file.getvalue()


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """The letters of the report's figures, which matplotlib brings along."""
    name = f"{STYLE['font.family'].replace(' ', '')}.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), LETTERS)


def _fitting(text: str) -> str:
    """As much of a line as stands below a picture."""
    if _font().getlength(text) <= SIDE:
        return text
    while text and _font().getlength(f"{text}…") > SIDE:
        text = text[:-1]
    return f"{text}…"
