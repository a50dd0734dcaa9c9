"""Tables as pages of a figure: columns as wide as their text, wrapped where that is too much, paginated."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neural_kernels.reports.style import (
    ALERT,
    MARGIN,
    MUTED,
    NORMAL,
    NOTE_WIDTH,
    PAGE,
    RULE,
    SMALL,
    TITLE,
    new_figure,
    text_width,
)

LINE = 0.165  # height of a line of text, inches
ASCENT = 0.125  # from the top of a line to its baseline, inches
PADDING = 0.055  # above and below the text of a row, inches, together
KEPT = 3  # rows that stay with the header above them or the notes below
GAP = 0.28  # between columns, inches
NARROWEST = 8  # characters


@dataclass(frozen=True)
class Table:
    """Text in rows and columns; a cell may have lines.

    ``numbers`` are the columns set flush right, ``alerts`` the rows in bold red, ``quoted`` those in grey
    italics, and a thin rule is drawn above every row in ``rules``, where a new group starts; a group stays on
    one page where a page holds it. ``notes`` stand below, a paragraph each.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    alerts: frozenset[int] = frozenset()
    quoted: frozenset[int] = frozenset()
    rules: frozenset[int] = frozenset()
    notes: Sequence[str] = field(default=())


def table_pages(tables: Sequence[Table], footer: str, first_page: int = 1) -> list[Figure]:
    """The tables below each other on as many pages as they take; headers are repeated on every page.

    Raises:
        ValueError: a row with another number of cells than its header.
    """
    pages = _Pages(footer, first_page)
    for table in tables:
        for row in table.rows:
            if len(row) != len(table.header):
                raise ValueError(
                    f"table {table.title!r}: a row of {len(row)} cells, expected {len(table.header)}"
                )
        _draw(table, pages)
    return pages.figures


class _Pages:
    """The page being filled, and how far down it is, in inches from the top."""

    def __init__(self, footer: str, first_page: int) -> None:
        self.footer = footer
        self.first_page = first_page
        self.figures: list[Figure] = []
        self.down = PAGE[1]

    def left(self) -> float:
        return PAGE[1] - MARGIN - 0.15 - self.down

    def start(self) -> None:
        self.figures.append(new_figure())
        self.down = MARGIN
        bottom = PAGE[1] - 0.3
        self.text(MARGIN, bottom, self.footer, size=SMALL, color=MUTED)
        number = str(self.first_page + len(self.figures) - 1)
        self.text(PAGE[0] - MARGIN, bottom, number, size=SMALL, color=MUTED, ha="right")

    def text(self, x: float, y: float, text: str, **style: object) -> None:
        """Lines of text; the first baseline is ``y`` inches from the top."""
        # One artist a line: matplotlib aligns several by their ink, which makes neighbours uneven.
        for line, content in enumerate(text.split("\n")):
            height = 1 - (y + LINE * line) / PAGE[1]
            self.figures[-1].text(x / PAGE[0], height, content, va="baseline", **style)  # type: ignore[arg-type]

    def rule(self, width: float, y: float, thickness: float, colour: str) -> None:
        ends, height = [MARGIN / PAGE[0], (MARGIN + width) / PAGE[0]], 1 - y / PAGE[1]
        self.figures[-1].add_artist(Line2D(ends, [height, height], color=colour, linewidth=thickness))


def _draw(table: Table, pages: _Pages) -> None:
    header, rows = _wrapped(table)
    widths = _widths(header, rows)
    heights = [_height(row) for row in rows]
    notes = [textwrap.wrap(note, NOTE_WIDTH) for note in table.notes]
    below = 0.15 + sum(LINE * len(lines) + 0.04 for lines in notes)
    whole = 0.45 + _height(header) + sum(heights) + below
    start = 0.45 + _height(header) + sum(heights[:KEPT])
    page = PAGE[1] - 2 * MARGIN - 0.15
    room = page - 0.45 - _height(header)
    fits_a_page = whole <= page
    if pages.left() < 0.35 + (whole if fits_a_page else start):
        pages.start()
    else:
        pages.down += 0.35
    _head(table.title, header, widths, table, pages)
    for index, (row, height) in enumerate(zip(rows, heights, strict=True)):
        # Notes alone on a page say nothing: the last rows go with them.
        last = index == max(len(rows) - KEPT, 0)
        needed = sum(heights[index:]) + below if last else height
        if index in table.rules and _group(table, heights, index) <= room:
            needed = max(needed, _group(table, heights, index))
        if pages.left() < needed:
            pages.start()
            _head(f"{table.title} (continued)", header, widths, table, pages)
        elif index in table.rules:
            pages.rule(_total(widths), pages.down, 0.5, RULE)
        _cells(row, widths, table, pages, pages.down, **_style(table, index))
        pages.down += height
    pages.rule(_total(widths), pages.down + 0.02, 0.8, "black")
    pages.down += 0.1
    for lines in notes:
        pages.text(MARGIN, pages.down + ASCENT, "\n".join(lines), size=SMALL, color=MUTED)
        pages.down += LINE * len(lines) + 0.04


def _head(title: str, header: list[str], widths: list[float], table: Table, pages: _Pages) -> None:
    pages.text(MARGIN, pages.down + 0.17, title, size=TITLE - 2, fontweight="bold")
    pages.down += 0.32
    pages.rule(_total(widths), pages.down, 0.8, "black")
    _cells(header, widths, table, pages, pages.down + 0.02, fontweight="bold")
    pages.down += _height(header) + 0.04
    pages.rule(_total(widths), pages.down, 0.5, "black")
    pages.down += 0.03


def _cells(
    row: list[str], widths: list[float], table: Table, pages: _Pages, top: float, **style: object
) -> None:
    x, y = MARGIN, top + PADDING / 2 + ASCENT
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        right = column in table.numbers
        pages.text(x + width if right else x, y, cell, size=NORMAL, ha="right" if right else "left", **style)
        x += width + GAP


def _group(table: Table, heights: list[float], row: int) -> float:
    """Height of the group of rows that starts at ``row``."""
    return sum(heights[row : min((rule for rule in table.rules if rule > row), default=len(heights))])


def _style(table: Table, row: int) -> dict[str, str]:
    if row in table.alerts:
        return {"color": ALERT, "fontweight": "bold"}
    return {"color": MUTED, "fontstyle": "italic"} if row in table.quoted else {}


def _height(row: list[str]) -> float:
    return LINE * max(cell.count("\n") + 1 for cell in row) + PADDING


def _total(widths: list[float]) -> float:
    return sum(widths) + GAP * (len(widths) - 1)


def _wrapped(table: Table) -> tuple[list[str], list[list[str]]]:
    """Header and cells with line breaks, the widest column narrowed again and again until all fit."""
    room = PAGE[0] - 2 * MARGIN
    limits = [
        max(len(line) for row in (table.header, *table.rows) for line in row[column].split("\n"))
        for column in range(len(table.header))
    ]
    while True:
        header, *rows = [
            [_wrap(cell, limit) for cell, limit in zip(row, limits, strict=True)]
            for row in (table.header, *table.rows)
        ]
        widths = _widths(header, rows)
        if _total(widths) <= room:
            return header, rows
        wide = [column for column, limit in enumerate(limits) if limit > NARROWEST]
        if not wide:
            raise ValueError(f"table {table.title!r} has {len(limits)} columns, which is too many for a page")
        widest = max(wide, key=lambda column: widths[column])
        limits[widest] = max(NARROWEST, int(limits[widest] * 0.9))


def _wrap(cell: str, limit: int) -> str:
    return "\n".join(line for given in cell.split("\n") for line in textwrap.wrap(given, limit))


def _widths(header: list[str], rows: list[list[str]]) -> list[float]:
    """Width of each column in inches: all text is measured in bold, the widest it gets."""
    columns = zip(header, *rows, strict=True)
    return [
        max(
            text_width(line, NORMAL, bold=True)
            for line in {line for cell in cells for line in cell.split("\n")}
        )
        for cells in columns
    ]
