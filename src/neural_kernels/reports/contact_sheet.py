"""A page of augmented images: a row for each image, a column for each of its copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from neural_kernels.reports import style

MOST_COPIES = 10
# Inches: the largest edge of a picture, the space between two, that of a class name, of the text below a
# picture, and above and below all rows.
LARGEST, GAP, NAME, BELOW, TOP, BOTTOM = 1.25, 0.1, 0.85, 0.2, 1.22, 0.45
UPSCALED = 160  # pixels: viewers blur small pictures when they enlarge them


@dataclass(frozen=True)
class ContactSheet:
    """Training images and their augmented copies.

    Attributes:
        images: (images, copies, height, width, channels) uint8, 1 or 3 channels; the first copy is the image.
        operations: what made each, images x copies.
        names: of each image, as that of its class.
        factor: copies that there are; ``images`` may hold fewer.
    """

    images: np.ndarray
    operations: Sequence[Sequence[str]]
    names: Sequence[str]
    factor: int


def contact_sheet_figure(sheet: ContactSheet, heading: str) -> Figure:
    """As many of the images as a page holds, each with the operation that made it below.

    To be called within ``style.context()``.
    """
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    columns = min(sheet.images.shape[1], MOST_COPIES)
    groups = _groups(columns)
    across = (width - 2 * style.MARGIN - GAP * (groups - 1)) / groups
    edge = min(LARGEST, (across - NAME) / columns - GAP)
    rows = max(1, int((height - TOP - BOTTOM) // (edge + BELOW)))
    figure.text(
        style.MARGIN / width,
        1 - 0.42 / height,
        "Augmented training images",
        size=style.TITLE,
        fontweight="bold",
        va="top",
    )
    figure.text(style.MARGIN / width, 1 - 0.74 / height, heading, size=style.NORMAL + 1.5, va="top")
    for place in range(min(len(sheet.images), rows * groups)):
        group, row = divmod(place, rows)
        left = style.MARGIN + group * (across + GAP) + NAME
        low = height - TOP - edge - row * (edge + BELOW)
        name = sheet.names[place]
        figure.text(
            (left - 0.1) / width, (low + edge / 2) / height, name, size=style.SMALL, ha="right", va="center"
        )
        for column in range(columns):
            x = left + column * (edge + GAP)
            ax = figure.add_axes((x / width, low / height, edge / width, edge / height))
            ax.set_gid("image")
            ax.imshow(_enlarged(sheet.images[place, column]), interpolation="none", cmap="gray")
            ax.set_axis_off()
            middle = (x + edge / 2) / width
            below = sheet.operations[place][column]
            figure.text(middle, (low - 0.13) / height, below, size=8, ha="center", color=style.MUTED)
            if row == 0:
                head = "Factor 1" if column == 0 else str(column + 1)
                figure.text(middle, (low + edge + 0.08) / height, head, ha="center", fontweight="bold")
    shown = f" Copies 1 to {columns} of {sheet.factor}." if columns < sheet.factor else ""
    note = "Below each copy its operation; after that, from factor 3 on, a random crop and a random flip."
    figure.text(style.MARGIN / width, 0.3 / height, note + shown, size=style.SMALL, color=style.MUTED)
    return figure


def _groups(columns: int) -> int:
    """Groups of ``columns`` pictures that stand side by side without getting smaller."""
    wide = NAME + columns * (LARGEST + GAP)
    return max(1, int((style.PAGE[0] - 2 * style.MARGIN + GAP) // (wide + GAP)))


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Each pixel several times, (height, width, 3), or (height, width) for one channel."""
    times = max(1, UPSCALED // image.shape[0])
    large = image.repeat(times, axis=0).repeat(times, axis=1)
    return large[:, :, 0] if large.shape[2] == 1 else large
